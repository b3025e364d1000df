//! The page in a browser, as who sits before it: what is seen, what is clicked, which keys are pressed, and what the browser logs.
//!
//! Nothing waits for a duration: what is awaited has a name, and as long as a busy machine needs. Each test ends with [`Page::end`], which
//! finds the browser's log empty: no error, no warning, nothing that the policy refused.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::{Value, json};

use super::driver::Browser;

/// How long something may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// What every script may use.
const WORDS: &str = "
const seen = (element) => element.checkVisibility({ visibilityProperty: true });
const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
const find = (selector, text) => all(selector).find((element) => element.textContent.includes(text));
";

/// The page in a browser.
pub struct Page {
    pub browser: Browser,
    /// Where the relay's admin listener is seen by the browser, with a slash at the end.
    pub base: String,
}

/// A command that is chromium's own.
#[derive(Debug)]
struct Own {
    path: &'static str,
    asked: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _url: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.asked.to_string()))
    }
}

impl Page {
    /// Opens a place of the page, such as `#/events`, on a screen of 1440 × 900.
    pub async fn open(relay: SocketAddr, place: &str) -> Self {
        Self::open_at(&format!("http://{relay}/"), place).await
    }

    /// The same, at an address of one's own.
    pub async fn open_at(base: &str, place: &str) -> Self {
        let page = Self::blank(base).await;
        page.go(place).await;
        page
    }

    /// A browser that shows nothing yet.
    pub async fn blank(base: &str) -> Self {
        let page = Self { browser: Browser::start().await, base: base.to_owned() };
        page.screen(1440, 900).await;
        page
    }

    /// Goes to a place by its address.
    pub async fn go(&self, place: &str) {
        self.browser.client.goto(&format!("{}{place}", self.base)).await.expect("gone there");
    }

    // ---- what is seen

    /// What a script returns. It may use `all(selector)` and `find(selector, text)`, which know only what can be seen.
    pub async fn run(&self, script: &str, given: &[Value]) -> Value {
        let told = self.browser.client.execute(&format!("{WORDS}{script}"), given.to_vec()).await;
        told.unwrap_or_else(|error| panic!("{error}\n{script}"))
    }

    /// Waits until a script returns something that is true, and gives it.
    pub async fn until(&self, what: &str, script: &str, given: &[Value]) -> Value {
        let start = Instant::now();
        loop {
            // A page that is being loaded anew has nothing to say yet.
            let told = self.browser.client.execute(&format!("{WORDS}{script}"), given.to_vec()).await;
            if let Ok(told) = &told
                && !matches!(told, Value::Null | Value::Bool(false))
                && *told != ""
                && *told != 0
            {
                return told.clone();
            }
            if start.elapsed() > PATIENCE {
                let text = self.browser.client.execute("return document.body.innerText", Vec::new()).await;
                panic!("waited {PATIENCE:?} for {what}; last: {told:?}; the page: {}", text.unwrap_or_default());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until something that matches a selector shows a text, and gives all of its text.
    pub async fn sees(&self, selector: &str, text: &str) -> String {
        let what = format!("{text:?} in {selector}");
        let found =
            self.until(&what, "return find(...arguments)?.textContent || null", &[json!(selector), json!(text)]).await;
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until nothing that matches a selector shows a text.
    pub async fn sees_no(&self, selector: &str, text: &str) {
        let what = format!("no {text:?} in {selector}");
        self.until(&what, "return !find(...arguments)", &[json!(selector), json!(text)]).await;
    }

    /// How many things match a selector now.
    pub async fn count(&self, selector: &str) -> u64 {
        self.run("return all(arguments[0]).length", &[json!(selector)]).await.as_u64().unwrap_or(0)
    }

    /// The texts of all that match a selector now.
    pub async fn texts(&self, selector: &str) -> Vec<String> {
        let found =
            self.run("return all(arguments[0]).map((element) => element.textContent)", &[json!(selector)]).await;
        serde_json::from_value(found).expect("texts")
    }

    /// Where the page is: what stands behind the `#`.
    pub async fn place(&self) -> String {
        self.run("return location.hash", &[]).await.as_str().unwrap_or_default().to_owned()
    }

    // ---- what is done

    /// Clicks on what matches a selector and shows a text, when it is there.
    pub async fn click(&self, selector: &str, text: &str) {
        let what = format!("{text:?} in {selector}");
        let start = Instant::now();
        loop {
            let script = "return find(...arguments)";
            let found = self.until(&what, script, &[json!(selector), json!(text)]).await;
            let found: fantoccini::elements::ElementRef = reference(&found);
            // Between a look and a click, a page that lives may put another in its place.
            match Element::from_element_id(self.browser.client.clone(), found).click().await {
                Ok(()) => return,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{what}: {error}"),
            }
        }
    }

    /// Presses keys, one after the other: letters, or a [`Key`](fantoccini::key::Key).
    pub async fn press(&self, keys: &str) {
        let mut actions = KeyActions::new("keys".to_owned());
        for value in keys.chars() {
            actions = actions.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        }
        self.browser.client.perform_actions(actions).await.expect("pressed");
    }

    /// Types a text into a field, in the place of what stands there.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.until(
            selector,
            "const field = all(arguments[0])[0]; if (!field) return false; field.focus(); field.select(); return true",
            &[json!(selector)],
        )
        .await;
        let field = self.browser.client.active_element().await.expect("a field");
        field.send_keys(text).await.expect("typed");
    }

    // ---- the browser

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let asked = json!({ "cmd": command, "params": parameters });
        let answer = self.browser.client.issue_cmd(Own { path: "goog/cdp/execute", asked }).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The size of what is looked through.
    pub async fn screen(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// What the system prefers: `light` or `dark`.
    pub async fn colours(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// What the browser has logged of a kind since it was asked last: `browser` or `performance`.
    pub async fn log(&self, kind: &str) -> Vec<Value> {
        let answer = self.browser.client.issue_cmd(Own { path: "se/log", asked: json!({ "type": kind }) }).await;
        answer.expect("a log").as_array().cloned().expect("a list")
    }

    /// Ends the test: nothing has been logged.
    pub async fn end(self) {
        self.end_with(|_| false).await;
    }

    /// Ends the test: nothing has been logged but what was meant to be.
    pub async fn end_with(self, is_meant: impl Fn(&str) -> bool) {
        let log = self.log("browser").await;
        let lines = log.iter().map(|entry| entry["message"].as_str().unwrap_or_default());
        let odd: Vec<&str> = lines.filter(|line| !is_meant(line)).collect();
        assert!(odd.is_empty(), "the browser has logged:\n{}", odd.join("\n"));
        self.browser.close().await;
    }
}

/// The element that a script returned.
fn reference(told: &Value) -> fantoccini::elements::ElementRef {
    let id = told.as_object().and_then(|element| element.values().next()).and_then(Value::as_str);
    fantoccini::elements::ElementRef::from(id.unwrap_or_else(|| panic!("no element: {told}")).to_owned())
}
