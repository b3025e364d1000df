//! What the browser forbids the page, whatever a mistake in it might try.

use serde_json::{Value, json};

use super::page::Page;
use super::stage::Stage;
use crate::harness::*;
use crate::slack_server::SlackServer;

/// What a script throws, by its name.
async fn thrown(page: &Page, script: &str) -> String {
    let script = format!("try {{ {script}; return 'nothing' }} catch (error) {{ return error.name }}");
    page.run(&script, &[]).await.as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn text_becomes_no_markup_and_no_code_or_style_comes_from_elsewhere() {
    let stage = Stage::start().await;
    let elsewhere = SlackServer::start([]).await;
    let page = stage.page("#/events").await;
    page.sees(".rows", "bounced").await;
    for script in [
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.outerHTML = '<b>x</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        "document.createElement('script').src = 'app.js'",
        "new DOMParser().parseFromString('<b>x</b>', 'text/html')",
        "trustedTypes.createPolicy('any', {})",
    ] {
        assert_eq!(thrown(&page, script).await, "TypeError", "{script}");
    }
    // What the driver runs may do that; what the page itself runs later may not.
    for script in ["eval('1')", "new Function('1')"] {
        let later = format!(
            "return new Promise((tell) => setTimeout(() => {{ try {{ {script}; tell('nothing') }} catch (error) {{ tell(error.name) }} }}))"
        );
        assert_eq!(page.run(&later, &[]).await, "EvalError", "{script}");
    }

    // These are refused without a word to who tries them; the log has it.
    let _ = page.log("browser").await;
    let tries = "
        const style = document.createElement('div');
        style.setAttribute('style', 'position: fixed');
        document.body.append(style);
        const image = document.createElement('img');
        image.src = arguments[0];
        document.body.append(image);
        const frame = document.createElement('iframe');
        frame.src = arguments[0];
        document.body.append(frame);
        fetch(arguments[0]).catch(() => {});
        const form = document.createElement('form');
        form.action = arguments[0];
        document.body.append(form);
        form.submit();
        return getComputedStyle(style).position;
    ";
    assert_eq!(page.run(tries, &[json!(elsewhere.url())]).await, "static");
    let mut said = String::new();
    eventually("each to be refused", async || {
        page.log("browser").await.iter().for_each(|entry| said.push_str(entry["message"].as_str().unwrap_or_default()));
        ["style-src", "img-src", "frame-src", "connect-src", "form-action"]
            .iter()
            .all(|directive| said.contains(directive) || said.contains(&directive.replace("frame-src", "default-src")))
    })
    .await;
    assert_eq!(elsewhere.seen().len(), 0, "nothing went there");
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_has_this_one_in_a_frame() {
    let stage = Stage::start().await;
    let framed = format!(
        "<!doctype html><title>other</title><iframe src=\"http://{}/\"></iframe>",
        stage.relay.running.admin_address
    );
    let answer = || Act::with(200, &[("content-type", "text/html")], &framed);
    let other = SlackServer::start([answer(), Act::status(404)]).await;
    let page = Page::open_at(&format!("{}/", other.url()), "").await;
    let mut said = String::new();
    eventually("the frame to be refused", async || {
        page.log("browser").await.iter().for_each(|entry| said.push_str(entry["message"].as_str().unwrap_or_default()));
        said.contains("frame-ancestors") || said.contains("403")
    })
    .await;
    page.browser.client.enter_frame(0).await.expect("a frame");
    let text = page.run("return document.body.innerText", &[]).await;
    assert!(!text.as_str().unwrap_or_default().contains("Accepts events"), "{text}");
    page.end_with(|line| line.contains("favicon")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_whole_tour_leaves_the_origin_and_no_search_stands_in_an_address() {
    let stage = Stage::start().await;
    let page = stage.page("#/events?q=who%3Ajo%40example.com").await;
    page.sees(".rows a.row", "jo@example.com").await;
    stage.tour(&page, async |_, _| {}).await;
    let asked: Vec<String> = page
        .log("performance")
        .await
        .iter()
        .filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok())
        .filter(|entry| entry["message"]["method"] == "Network.requestWillBeSent")
        .filter_map(|entry| Some(entry["message"]["params"]["request"]["url"].as_str()?.to_owned()))
        .collect();
    assert!(asked.len() > 20, "the requests were seen: {asked:?}");
    let is_browsers_own = |url: &str| ["data:", "about:", "chrome:"].iter().any(|scheme| url.starts_with(scheme));
    let odd: Vec<_> = asked.iter().filter(|url| !url.starts_with(&page.base) && !is_browsers_own(url)).collect();
    assert!(odd.is_empty(), "{odd:?}");
    let told: Vec<_> =
        asked.iter().filter(|url| url.split('#').next().is_some_and(|sent| sent.contains("example.com"))).collect();
    assert!(told.is_empty(), "{told:?}");
    page.end().await;
}
