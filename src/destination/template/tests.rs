//! What templates make of events.

use super::super::Delivery;
use super::super::sample::{SAMPLE_MS, sample};
use super::*;
use crate::event::Json;

/// A delivery of a body.
pub(in crate::destination) fn delivery(body: &str) -> Delivery {
    sample(body.to_owned(), SAMPLE_MS)
}

fn render(template: &str, body: &str, escape: Escape) -> Result<String, String> {
    let compiled = Template::compile(template, escape).map_err(|fault| fault.message)?;
    compiled.render(&View::new(&delivery(body)), None)
}

#[track_caller]
pub(in crate::destination) fn failure(template: &str, body: &str) {
    assert!(render(template, body, Escape::None).is_err(), "{template} on {body}");
}

#[track_caller]
pub(in crate::destination) fn check(template: &str, body: &str, expected: &str) {
    assert_eq!(render(template, body, Escape::None).as_deref(), Ok(expected), "{template} on {body}");
}

#[test]
fn values_are_found_and_missing_ones_are_nothing() {
    check("{{ campaign.name }}", r#"{"type":"sent","campaign":{"name":"Cart"}}"#, "Cart");
    check("<{{ campaign.name }}>", r#"{"type":"sent"}"#, "<>");
    check("<{{ a.b.c.d }}>", r#"{"type":"sent","a":null}"#, "<>");
    check("{{ campaign.trigger_event }}", r#"{"type":"sent","campaign":{"trigger-event":"x"}}"#, "x");
    check("{{ type }}", r#"{"action":"user_updated"}"#, "user_updated");
    check("{{ relay.source }} {{ relay.rule }}", r#"{"type":"sent"}"#, "vero everything");
    check("{{ relay.received_at }}", r#"{"type":"sent"}"#, "2023-11-14T22:13:20.000Z");
    check("{% if bounce_code > 500 %}yes{% endif %}", r#"{"type":"b","bounce_code":550}"#, "yes");
    check("{% for t in tags %}{{ t }},{% endfor %}", r#"{"type":"b","tags":["a","b"]}"#, "a,b,");
}

#[test]
fn numbers_keep_their_text() {
    for number in
        ["1235666234572456", "9007199254740993", "12345678901234567890123", "12500.50", "129.9", "1e400", "1.0", "-0"]
    {
        check("{{ n }}", &format!(r#"{{"type":"a","n":{number}}}"#), number);
    }
}

#[test]
fn veros_odd_keys_are_found() {
    check(
        "{{ campaign.name }}|{{ campaign.subject }}",
        r#"{"type":"u","campaign":{"campaign_title":"T","email_subject":"S"}}"#,
        "T|S",
    );
    check("{{ campaign.name }}", r#"{"type":"u","campaign":{"name":null,"campaign_title":"T"}}"#, "T");
    check("{{ user.id }} {{ user.email }}", r#"{"action":"u","id":"7","email":"e@x"}"#, "7 e@x");
    check("{{ message_id }}", r#"{"type":"u","campaign":{"message_id":"M"}}"#, "M");
}

#[test]
fn a_path_finds_what_a_template_finds_with_its_type() {
    let view =
        View::new(&delivery(r#"{"type":"u","n":12500.50,"campaign":{"campaign_title":"T","trigger-event":"e"}}"#));
    assert_eq!(view.find("n"), Some(Json::Number("12500.50".into())));
    assert_eq!(view.find("campaign.name"), Some(Json::String("T".into())));
    assert_eq!(view.find("campaign.trigger_event"), Some(Json::String("e".into())));
    assert_eq!(view.find("relay.source"), Some(Json::String("vero".into())));
    assert_eq!(view.find("type"), Some(Json::String("u".into())));
    assert_eq!(view.find("nothing.here"), None);
}

#[test]
fn slacks_markup_is_harmless_in_values_and_stays_in_templates() {
    let body = r#"{"type":"a","campaign":{"name":"<!channel> & <http://x|y>","permalink":"http://a/b?c=1&d=2|e>"}}"#;
    let render = |template| render(template, body, Escape::Slack).expect("renders");
    assert_eq!(render("{{ campaign.name }}"), "&lt;!channel&gt; &amp; &lt;http://x|y&gt;");
    assert_eq!(render("<{{ campaign.permalink | url }}|view>"), "<http://a/b?c=1&amp;d=2%7Ce%3E|view>");
    assert_eq!(render("{{ campaign.name | upper }}"), "&lt;!CHANNEL&gt; &amp; &lt;HTTP://X|Y&gt;");
    assert!(Template::compile("{{ x | safe }}", Escape::Slack).is_err(), "nothing switches the escaping off");
}

#[test]
fn html_is_harmless_in_values_and_stays_in_templates() {
    let body = r#"{"type":"a","campaign":{"name":"<b onclick='x'>\"R&D\"</b>"}}"#;
    let rendered = render("<i title=\"{{ campaign.name }}\">{{ type }}</i>", body, Escape::Html);
    assert_eq!(
        rendered.as_deref(),
        Ok("<i title=\"&lt;b onclick=&#39;x&#39;&gt;&quot;R&amp;D&quot;&lt;/b&gt;\">a</i>")
    );
    assert!(Template::compile("{{ x | safe }}", Escape::Html).is_err(), "nothing switches the escaping off");
}

#[test]
fn a_value_in_a_url_is_one_segment() {
    let rendered = render("/u/{{ user.id }}", r#"{"type":"a","user":{"id":"a/../b?c#d é"}}"#, Escape::Segment);
    assert_eq!(rendered.as_deref(), Ok("/u/a%2F..%2Fb%3Fc%23d%20%C3%A9"));
}

#[test]
fn a_template_that_would_run_for_ever_ends() {
    let body = format!(r#"{{"type":"a","l":[{}1]}}"#, "1,".repeat(2000));
    let loops = "{% for a in l %}{% for b in l %}{% for c in l %}x{% endfor %}{% endfor %}{% endfor %}";
    assert!(render(loops, &body, Escape::None).is_err());
}

#[test]
fn the_relays_own_filters_do_what_the_reference_says() {
    let body = r#"{"type":"a","t":"Grüße & more","n":20.50,"e":"steve@example.com","m":{"a b":"c&d","n":1.0}}"#;
    check(
        "{{ t | truncate(6) }}|{{ t | truncate(12) }}|{{ t | truncate(6, end='...') }}",
        body,
        "Grüße…|Grüße & more|Grü...",
    );
    check("{{ t | truncate(length=1) }}{{ x | truncate(3) }}{{ n | truncate(2, '') }}", body, "…20");
    check(
        "{{ t | urlencode }} {{ n | urlencode }} {{ m | urlencode }}",
        body,
        "Gr%C3%BC%C3%9Fe%20%26%20more 20.50 a%20b=c%26d&n=1.0",
    );
    check(
        "{{ e | mask }} {{ 'ab' | mask }} {{ 'Ünal@x.de' | mask }} {{ 'a@b@c' | mask }} {{ 'phone' | mask }}{{ x | mask }}",
        body,
        "s***@example.com *** Ü***@x.de a***@c p***",
    );
    check(
        "{{ 'abc' | sha256 }}{{ x | sha256 }}",
        body,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    check(
        "{{ 'what do ya want for nothing?' | hmac_sha256('Jefe') }}",
        body,
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
    check("{{ x | urlencode }}{{ x | hmac_sha256('k') }}{{ x | date }}", body, "");
    check(
        "{{ t | truncate(10, true) }}|{{ t | truncate(10, false) }}|{{ t | truncate(10, killwords=true) }}",
        body,
        "Grüße & m…|Grüße &…|Grüße & m…",
    );
    check("{{ t | truncate(9, true, '..') }}|{{ t | truncate(9, false, end='') }}", body, "Grüße &..|Grüße &");
    failure("{{ e | truncate(9, 5) }}", body);
    failure("{{ e | truncate('many') }}", body);
    failure("{{ e | date }}", body);
}

#[test]
fn every_filter_test_and_function_of_the_table_is_there_and_no_other() {
    for entry in library::FILTERS {
        check(&format!("{{{{ '{}' is filter }}}}", entry.name), r#"{"type":"a"}"#, "true");
    }
    for entry in library::TESTS {
        check(&format!("{{{{ '{}' is test }}}}", entry.name), r#"{"type":"a"}"#, "true");
    }
    for entry in library::FUNCTIONS {
        check(&format!("{{{{ {} is defined }}}}", entry.name), r#"{"type":"a"}"#, "true");
    }
    let environment = format!("{:?}", BASES[0]);
    let listed = environment.split_once("filters: [").and_then(|(_, rest)| rest.split_once(']')).expect("filters").0;
    let names: Vec<_> = listed.split(", ").map(|name| name.trim_matches('"')).collect();
    let (hidden, shown): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with('_'));
    assert_eq!((hidden.len(), shown.len()), (12, library::FILTERS.len()), "{names:?}");
}

#[test]
fn a_value_in_a_whole_url_is_encoded_by_its_place() {
    let body = r#"{"type":"a","user":{"email":"a+b@x.de"},"link":"https://x.de/a?b=c&d=e f"}"#;
    let render = |template| render(template, body, Escape::Url).expect("renders");
    assert_eq!(render("https://crm/?u={{ user.email }}&x=1"), "https://crm/?u=a%2Bb%40x.de&x=1");
    assert_eq!(render("{{ link }}"), "https://x.de/a?b=c&d=e%20f");
    assert_eq!(
        render("{% if link %}{{ link }}&u={{ user.email }}{% endif %}"),
        "https://x.de/a?b=c&d=e%20f&u=a%2Bb%40x.de"
    );
    assert_eq!(render("https://crm/?to={{ link }}"), "https://crm/?to=https%3A%2F%2Fx.de%2Fa%3Fb%3Dc%26d%3De%20f");
    assert_eq!(render("https://crm/?u={{ user.email | urlencode }}"), "https://crm/?u=a%2Bb%40x.de");
}

#[test]
fn what_the_samples_lack_is_no_slip() {
    for source in [
        "{{ event.data.total | round(2) }}",
        "{{ event.data.total | abs }}",
        "{{ event.data.total * 1.19 }}",
        "{{ -event.data.total }}",
        "{{ event.data.paid_at | date('%d.%m.%Y') }}",
        "{% for item in event.data.lines | sort(attribute='price') %}{{ item.price + 1 }}{% endfor %}",
        "{{ event.data.lines | sum(attribute='price') }}",
    ] {
        assert!(Template::compile(source, Escape::None).is_ok(), "{source}");
    }
    for source in ["{{ type | date }}", "{{ type + 1 }}", "{{ sent_at | date('%!') }}", "{{ user.name-x }}"] {
        assert!(Template::compile(source, Escape::None).is_err(), "{source}");
    }
}

#[test]
fn what_does_not_compile_is_told_with_its_place() {
    assert!(Template::compile("{{ a", Escape::None).is_err());
    let source = "one\n{{ a b }}";
    let fault = Template::compile(source, Escape::None).expect_err("bad");
    assert_eq!(fault.within.map(|range| &source[range]), Some("b"));
}

#[test]
fn what_can_never_be_rendered_does_not_compile() {
    let told = |source, part: &str| {
        let fault = Template::compile(source, Escape::None).expect_err(source);
        assert!(
            fault.message.contains(part) || fault.help.as_ref().is_some_and(|help| help.contains(part)),
            "{fault:?}"
        );
    };
    told("{{ type | uppr }}", "no filter `uppr`");
    told("{{ type | uppr }}", "did you mean `upper`?");
    told("{{ nope() }}", "nope");
    told("{{ campaign.trigger-event }}", "write trigger_event");
    // What fails only for some events is the template's own affair.
    assert!(Template::compile("{{ bounce_code + 1 }}", Escape::None).is_ok());
}

#[test]
fn what_is_no_text_is_written_as_json() {
    check(
        "{{ flag }} {{ list }} {{ map }}",
        r#"{"type":"a","flag":true,"list":[1,"x"],"map":{"b":1,"a":null}}"#,
        r#"true [1,"x"] {"b":1,"a":null}"#,
    );
}

#[test]
fn null_prints_nothing_inside_of_an_expression_too() {
    let body = r#"{"type":"a","x":null,"f":true,"l":[1,null,"b"],"i":[{"p":2.50},{"p":null},{"p":1}]}"#;
    check("{{ x ~ '!' }}{{ '<' ~ x ~ missing ~ '>' }}", body, "!<>");
    check("{{ f ~ ' ' ~ l }}", body, r#"true [1,null,"b"]"#);
    check("{{ [x] | join }}|{{ l | join(',') }}|{{ i | map(attribute='p') | join(',') }}", body, "|1,,b|2.50,,1");
    check(
        "{{ i | join(',', attribute='p') }} {{ i | join(attribute='p') }}{{ x | join(',', attribute='p') }}",
        body,
        "2.50,,1 2.501",
    );
    check("{{ i | sum(attribute='p') }} {{ i | map(attribute='p') | sum }} {{ [1, x] | sum }}", body, "3.5 3.5 1");
    check("{{ '%s!' | format(x) }}{{ x is none }}{{ x | default('-', true) }}", body, "!true-");
    check(
        "{{ x | upper }}{{ x | lower }}{{ x | trim }}{{ x | capitalize }}{{ x | title }}{{ x | string }}{{ x | replace('a', 'b') }}{{ x | indent(2) }}",
        body,
        "",
    );
}

#[test]
fn every_filter_makes_of_null_what_it_makes_of_a_missing_value() {
    let body = r#"{"type":"a","null":null}"#;
    let tells_them_apart = ["default", "d", "tojson", "pprint"];
    for entry in library::FILTERS.iter().filter(|entry| !tells_them_apart.contains(&entry.name)) {
        let (_, call) = entry.example.split_once("| ").unwrap_or_default();
        let made = |value: &str| render(&format!("{{{{ {value} | {call} }}}}"), body, Escape::None).ok();
        assert_eq!(made("null"), made("missing"), "{}", entry.name);
    }
}

#[test]
fn an_underscore_stands_for_a_hyphen_or_itself() {
    check("{{ a_b_c }}", r#"{"type":"a","a_b-c":1}"#, "1");
    check("{{ a_b }}", r#"{"type":"a","a-b":1,"a_b":2}"#, "2");
}

#[test]
fn a_sole_path_is_seen() {
    assert_eq!(sole_path("{{ campaign.id }}"), Some("campaign.id"));
    assert_eq!(sole_path("{{campaign}}"), Some("campaign"));
    for text in ["x {{ a }}", "{{ a | upper }}", "{{ a }}{{ b }}", "{{ 1 }}", "{{ a[0] }}", "{{ true }}", "a"] {
        assert_eq!(sole_path(text), None, "{text}");
    }
}

#[test]
fn in_markdown_no_value_is_markup_calls_anybody_or_ends_a_link() {
    let body = r#"{"type":"sent","campaign":{"name":"*a* _b_ `c` [d](e) <f> ~g~ |h| #i \\ @all, x@y.z","permalink":"https://x/a_(b)"}}"#;
    let render = |template| render(template, body, Escape::Markdown).expect("renders");
    let expected = r"*x* \*a\* \_b\_ \`c\` \[d\]\(e\) \<f\> \~g\~ \|h\| \#i \\ ＠all, x@y.z";
    assert_eq!(render("*x* {{ campaign.name }}"), expected);
    let link = "{% set l = campaign.permalink | url %}[view]({{ l }}){% if l and l | length < 30 %}!{% endif %}";
    assert_eq!(render(link), "[view](https://x/a_%28b%29)!");
    assert_eq!(render("{{ campaign.permalink }}"), r"https://x/a\_\(b\)");
    assert_eq!(render("{{ campaign.name | url }}"), "");
}

#[test]
fn in_markdown_a_value_is_one_line_and_begins_no_list_whatever_it_holds() {
    for (name, expected) in [
        (r"a\n- li\r\n1. one\n\n===", "a - li 1. one ==="),
        (r"a\rb\u2028c\u0085d", "a b c d"),
        ("- a", r"\- a"),
        (" + a", r" \+ a"),
        ("1. a", r"1\. a"),
        ("12.", r"12\."),
        ("---", r"\---"),
        ("===", r"\==="),
        ("-5", "-5"),
        ("+49 1", "+49 1"),
        ("1.5", "1.5"),
        ("a - b", "a - b"),
    ] {
        let body = format!(r#"{{"type":"sent","campaign":{{"name":"{name}"}}}}"#);
        let template = "{{ \"\\n\" }}{{ campaign.name }}";
        let rendered = render(template, &body, Escape::Markdown).expect("renders");
        assert_eq!(rendered, format!("\n{expected}"), "{name}");
    }
}

#[test]
fn in_html_nobody_is_called_and_an_address_stays_one() {
    let body = r#"{"type":"sent","campaign":{"name":"@all (@x) x@y.z <b>"}}"#;
    let rendered = render("@a {{ campaign.name }}", body, Escape::ChatHtml).expect("renders");
    assert_eq!(rendered, "@a ＠all (＠x) x@y.z &lt;b&gt;");
    let body = r#"{"type":"sent","campaign":{"permalink":"https://example.com/@acme?a=1&b='"}}"#;
    let rendered = render("<a href=\"{{ campaign.permalink | url }}\">", body, Escape::ChatHtml).expect("renders");
    assert_eq!(rendered, "<a href=\"https://example.com/@acme?a=1&amp;b=&#39;\">");
    let rendered = render("{{ campaign.permalink }}", body, Escape::Html).expect("renders");
    assert_eq!(rendered, "https://example.com/@acme?a=1&amp;b=&#39;", "a mail calls nobody");
}

#[test]
fn an_id_is_a_ulid_of_the_same_bits() {
    let id = |text: &str| format!(r#"{{"type":"sent","id":"{text}"}}"#);
    check("{{ id | ulid }}", &id("01563e3a-b5d3-d676-4c61-efb99302bd5b"), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    check("{{ id | ulid }}", &id("ffffffff-ffff-ffff-ffff-ffffffffffff"), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    check("{{ id | ulid }}|{{ nothing | ulid }}", &id("0156"), "|");
    check("{{ relay.occurred_s }}", r#"{"type":"sent","sent_at":1435016238}"#, "1435016238");
}
