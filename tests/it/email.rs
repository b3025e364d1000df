//! `email:` against a mail server in this process: what arrives, what each answer means, and what is never sent.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use vero_relay::config::Config;
use vero_relay::destination::sample::{built, sample};
use vero_relay::destination::{Client, Delivery, Digest, Group};
use vero_relay::explain::{Explanation, Missed, run_tests};
use vero_relay::yaml::values::Surroundings;

use crate::harness::*;
use crate::mail_server::{Begins, HANGS_UP, HANGS_UP_WITHIN, MailServer};

const BOUNCED: &str = r#"{"type":"bounced","user":{"id":1,"email":"ann@example.com","name":"<b>Änn</b> & co"},"campaign":{"name":"Käse\r\nBcc: evil@example.com"}}"#;

/// A relay that sends everything by email.
async fn relay(server: &str, more: &str) -> TestRelay {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("ca.pem"), include_str!("../tls/ca.pem")).expect("written");
    TestRelay::start_at(std::sync::Arc::new(directory), &config(server, more)).await
}

/// Its config behind the head.
fn config(server: &str, more: &str) -> String {
    format!(
        "rules: [ {{ name: all, to: [mail] }} ]\ndestinations:\n  mail:\n    {QUICK}\n    email:\n      server: \"{server}\"\n      \
         from: \"Vero Relay <relay@example.com>\"\n      subject: \"{{{{ type }}}}: {{{{ campaign.name }}}}\"\n      \
         text: \"{{{{ user.name }}}}\\n.\\nend\"\n{more}"
    )
}

/// Far more lines than any answer has: reading them must not take the relay's time.
fn too_many_lines() -> &'static str {
    format!("{}450 z", "450-z\r\n".repeat(14_000)).leak()
}

fn endless_line() -> &'static str {
    format!("220-{}", "x".repeat(8 << 20)).leak()
}

const TO_TWO: &str = "      to: [ops@example.com, \"{{ user.email }}\"]\n";
const IN_THE_CLEAR: &str = "      starttls: never\n";

fn clear(server: &MailServer) -> String {
    format!("127.0.0.1:{}", server.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_encrypted_and_logged_in_with_its_headers_and_both_its_forms() {
    for (begins, scheme) in [(Begins::StartTls, ""), (Begins::Encrypted, "smtps://")] {
        let server = MailServer::start(begins);
        let more = format!(
            "{TO_TWO}      ca: ca.pem\n      username: relay\n      password: s3cret-of-smtp\n      html: \"<p>{{{{ user.name }}}}</p>\"\n"
        );
        let relay = relay(&format!("{scheme}localhost:{}", server.port()), &more).await;
        let id = relay.accept(BOUNCED).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 1);
        let mail = server.wait_for(1).await.remove(0);
        assert!(mail.is_encrypted && mail.is_logged_in);
        assert_eq!(mail.from, "<relay@example.com>");
        assert_eq!(mail.to, ["ops@example.com", "ann@example.com"]);
        assert_eq!(mail.header("From").as_deref(), Some("\"Vero Relay\" <relay@example.com>"));
        assert_eq!(mail.header("To").as_deref(), Some("ops@example.com, ann@example.com"));
        let message_id = mail.header("Message-ID").expect("an id");
        assert!(message_id.starts_with(&format!("<{id}.")) && message_id.ends_with("@example.com>"), "{message_id}");
        let subject = mail.header("Subject").expect("a subject");
        assert!(subject.is_ascii() && subject.contains("=?utf-8?"), "{subject}");
        assert!(mail.header("Content-Type").expect("a type").starts_with("multipart/alternative"), "{}", mail.data);
        let body = decoded(mail.body());
        assert!(body.contains("<b>Änn</b> & co\r\n.\r\nend"), "{body}");
        assert!(body.contains("<p>&lt;b&gt;Änn&lt;/b&gt; &amp; co</p>"), "{body}");
        assert_eq!(relay.destination("mail").await["state"], "up");
    }
}

/// Quoted-printable and base64 as text, part by part.
fn decoded(body: &str) -> String {
    let joined = body.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let [first, behind @ ..] = rest {
        let code = (*first == b'=').then(|| behind.get(..2)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_an_event_begins_a_header() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}      to: ops@example.com\n")).await;
    relay.accept(&BOUNCED.replace('ä', "a")).await;
    let mail = server.wait_for(1).await.remove(0);
    assert_eq!(mail.to, ["ops@example.com"]);
    assert_eq!(mail.header("Subject").as_deref(), Some("bounced: Kase  Bcc: evil@example.com"));
    assert_eq!(mail.header("Bcc"), None);
    let id = relay.accept(&BOUNCED.replace("ann@example.com", "a@b.c")).await;
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_of_an_event_that_is_no_address_is_a_dead_letter_and_none_at_all_is_skipped() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}      to: \"{{{{ user.email }}}}\"\n")).await;
    for hostile in ["ann@example.com\\r\\nRCPT TO:<x@y.z>", "ann@example.com> SIZE=1 <b@c.d", "nobody"] {
        let id = relay.accept(&BOUNCED.replace("ann@example.com", hostile)).await;
        assert_eq!(relay.until(&id, "dead").await["attempts"], 1, "{hostile}");
    }
    let id = relay.accept(&BOUNCED.replace("ann@example.com", "")).await;
    relay.until(&id, "skipped").await;
    assert_eq!(server.connections(), 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_of_the_server_means_what_its_code_says() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}      to: ops@example.com\n")).await;
    for (to, said) in [
        ("hello", "421 4.3.2 too busy"),
        ("hello", "554 5.7.1 not from your address"),
        ("MAIL", "451 4.3.0 later"),
        ("ops@example.com", "450 4.2.0 greylisted"),
        ("DATA", "452 4.3.1 no room"),
        (".", "451 4.3.0 later"),
        // A yes that asks for more is none.
        ("MAIL", "354 go on"),
        ("ops@example.com", "354 go on"),
        ("DATA", "250 done"),
        (".", "354 go on"),
        // More than an answer may be: read no further.
        ("ops@example.com", too_many_lines()),
        ("hello", endless_line()),
    ] {
        server.says(to, [said]);
        let id = relay.accept(SENT).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "{to} {said}");
    }
    for said in ["250", "250-2.0.0 taken\r\n250 as \u{fc}ber"] {
        server.says(".", [said]);
        let id = relay.accept(SENT).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 1, "{said}");
    }
    let taken = server.mails().len();
    for (to, said) in
        [("MAIL", "550 5.7.1 not you"), ("ops@example.com", "550 5.1.1 no such user"), (".", "554 5.6.0 spam")]
    {
        server.says(to, [said]);
        let id = relay.accept(SENT).await;
        let dead = relay.until(&id, "dead").await;
        assert_eq!(dead["attempts"], 1, "{to}");
        let reason = dead["reason"].as_str().expect("a reason");
        let (code, words) = said.split_once(' ').expect("words");
        assert!(reason.starts_with(code) && !reason.contains(words), "{reason}");
        assert_eq!(dead["status"].to_string(), code);
        assert!(dead["answer"].as_str().is_some_and(|answer| answer.ends_with(words)), "{dead}");
    }
    assert_eq!(server.mails().len(), taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_refused_pauses_the_destination_and_is_told_nowhere() {
    let server = MailServer::start(Begins::InTheClear);
    let login = "      username: relay\n      password: wrong-of-smtp\n      to: ops@example.com\n";
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{login}")).await;
    // Also as it was sent: `\0relay\0wrong-of-smtp`.
    server.says("AUTH", ["535 5.7.8 wrong-of-smtp is not the password of relay: AHJlbGF5AHdyb25nLW9mLXNtdHA="]);
    relay.accept(SENT).await;
    eventually("the pause", async || relay.destination("mail").await["state"] == "paused").await;
    let told = relay.destination("mail").await.to_string();
    assert!(told.contains("535") && !told.contains("wrong-of-smtp") && !told.contains("AHJlbGF5"), "{told}");
    assert!(server.mails().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_told_nowhere_whatever_is_read_of_its_letters() {
    let server = MailServer::start(Begins::InTheClear);
    let login = "      username: relay\n      password: \"wröng\\tof-smtp\"\n      to: ops@example.com\n";
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{login}")).await;
    server.says("AUTH", ["535 wröng\tof-smtp is not the password"]);
    relay.accept(SENT).await;
    eventually("the pause", async || relay.destination("mail").await["state"] == "paused").await;
    let told = relay.destination("mail").await.to_string();
    assert!(told.contains("535") && !told.contains("of-smtp"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_recipients_one_refused_for_good_does_not_keep_the_other_from_the_message() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{TO_TWO}")).await;
    server.says("ops@example.com", ["550 5.1.1 no such user"]);
    let id = relay.accept(BOUNCED).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 1);
    let mails = server.wait_for(1).await;
    assert_eq!(mails.iter().map(|mail| mail.to.clone()).collect::<Vec<_>>(), [["ann@example.com"]]);
}

/// What this thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let into = self.clone();
        let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        log_to(lines.with_writer(move || into.clone()).finish())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the lock")).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the lock").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread, so that all of the log is seen.
#[tokio::test]
async fn who_was_refused_beside_others_is_named_by_the_attempt_and_not_by_the_log_or_the_metrics() {
    let log = Log::default();
    let _logging = log.begin();
    let server = MailServer::start(Begins::InTheClear);
    let three = "      to: [ops@example.com, gone@example.com, \"{{ user.email }}\"]\n";
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{three}")).await;
    server.says("gone@example.com", ["550 5.1.1 no such user"]);
    server.says("ann@example.com", ["551 5.1.6 moved away"]);
    let id = relay.accept(BOUNCED).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 1);
    let noted = || async { relay.admin(&format!("/api/events/{id}")).await.json()["deliveries"][0].clone() };
    eventually("the note", async || noted().await["attempted"][0].is_object()).await;
    let attempt = noted().await["attempted"][0].clone();
    assert_eq!(attempt["outcome"], "delivered");
    assert_eq!(attempt["status"], 550);
    let expected = "550 for recipient 2 of 3; 551 for recipient 3 of 3; the others have the message";
    assert_eq!(attempt["reason"], expected);
    assert_eq!(attempt["answer"], "gone@example.com: 5.1.1 no such user; ann@example.com: 5.1.6 moved away");
    let shown = relay.destination("mail").await;
    assert_eq!(shown["state"], "up");
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains("vero_relay_deliveries_total{destination=\"mail\",outcome=\"delivered\"} 1"), "{metrics}");
    assert!(!metrics.contains("gone@example.com"), "{metrics}");
    let log = log.text();
    let told = log.lines().find(|line| line.contains("a recipient was refused, and the others")).expect("it is told");
    assert!(told.contains("destination=mail") && told.contains("server=") && told.contains("550"), "{told}");
    assert!(!log.contains("gone@example.com") && !log.contains("ann@example.com"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_recipients_are_refused_each_is_named_by_the_attempt() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{TO_TWO}")).await;
    server.says("ops@example.com", ["550 5.1.1 no such user"]);
    server.says("ann@example.com", ["551 5.1.6 moved away"]);
    let id = relay.accept(BOUNCED).await;
    let dead = relay.until(&id, "dead").await;
    let (expected, answer) = (
        "550 for recipient 1 of 2; 551 for recipient 2 of 2",
        "ops@example.com: 5.1.1 no such user; ann@example.com: 5.1.6 moved away",
    );
    assert_eq!((dead["reason"].as_str(), dead["answer"].as_str()), (Some(expected), Some(answer)));
    let noted = || async { relay.admin(&format!("/api/events/{id}")).await.json()["deliveries"][0].clone() };
    eventually("the note", async || noted().await["attempted"][0].is_object()).await;
    let attempt = noted().await["attempted"][0].clone();
    assert_eq!((attempt["reason"].as_str(), attempt["answer"].as_str()), (Some(expected), Some(answer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_the_same_in_each_attempt_and_has_the_date_of_its_event() {
    let server = MailServer::start(Begins::InTheClear);
    let directory = tempfile::tempdir().expect("a directory");
    let rest = format!(
        "{HEAD}rules: [ {{ to: [mail] }} ]\ndestinations:\n  mail:\n    email:\n      server: \"{}\"\n      from: relay@example.com\n      \
         subject: a\n      text: b\n      html: c\n      to: ops@example.com\n{IN_THE_CLEAR}",
        clear(&server)
    );
    let config = parse(directory.path(), &rest);
    let deliveries = [sample(BOUNCED, 1_768_200_000_000)];
    for _ in 0..2 {
        let outcomes = config.destinations[0].destination.attempt(&deliveries).await;
        assert!(outcomes[0].is_delivered(), "{outcomes:?}");
    }
    let mails = server.wait_for(2).await;
    assert_eq!(mails[0].data, mails[1].data);
    assert_eq!(mails[0].header("Date").as_deref(), Some("Mon, 12 Jan 2026 06:40:00 +0000"));
    let parts = mails[0].header("Content-Type").expect("a type");
    // RFC 2046 allows 70 characters, and few signs: the sender's domain may be longer, and have others.
    assert!(parts.contains("boundary=") && !parts.contains("example"), "{parts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_the_relay_is_no_reason_to_send_in_the_clear() {
    let server = MailServer::start(Begins::StartTls);
    server.says("EHLO", ["554 5.7.1 listed by a blocklist"; 100]);
    let relay = relay(&format!("localhost:{}", server.port()), &format!("{TO_TWO}      ca: ca.pem\n")).await;
    let id = relay.accept(BOUNCED).await;
    let waits = relay.until(&id, "scheduled").await;
    assert_eq!((&waits["reason"], &waits["status"]), (&"554 for the connection".into(), &554.into()));
    assert_eq!(waits["answer"], "5.7.1 listed by a blocklist");
    assert!(server.mails().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_recipients_are_tried_again_by_their_old_code_too() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{TO_TWO}")).await;
    // RFC 5321, 4.5.3.1.10. To the message itself it says that that is too large, which it stays.
    server.says("ann@example.com", ["552 5.5.3 too many recipients"]);
    let id = relay.accept(BOUNCED).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2);
    // A mailbox that is full is one that others need not wait for.
    server.says("ann@example.com", ["552 5.2.2 mailbox full"]);
    let id = relay.accept(BOUNCED).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 1);
    server.says(".", ["552 5.3.4 too large"]);
    let id = relay.accept(BOUNCED).await;
    assert_eq!(relay.until(&id, "dead").await["attempts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_that_must_wait_hold_up_nobody_elses_messages() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}      to: \"{{{{ user.email }}}}\"\n")).await;
    let to = |who: &str| BOUNCED.replace("ann@example.com", who);
    // More in a row than a destination that works would come to by chance.
    for who in ["a@x.y", "b@x.y", "c@x.y", "d@x.y", "e@x.y", "f@x.y", "g@x.y", "h@x.y"] {
        server.says(who, ["450 mailbox busy"; 50]);
        let id = relay.accept(&to(who)).await;
        // One by one: what is tried again soon is seldom seen waiting together.
        relay.until(&id, "scheduled").await;
    }
    assert_eq!(relay.destination("mail").await["state"], "up");
    let id = relay.accept(&to("ann@example.com")).await;
    relay.until(&id, "delivered").await;
    assert_eq!(relay.destination("mail").await["state"], "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_without_an_address_does_not_keep_the_others_from_the_message() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{TO_TWO}")).await;
    // The server knows no SMTPUTF8.
    for (odd, why) in [("nobody", "not an address"), ("änn@example.com", "SMTPUTF8")] {
        let id = relay.accept(&BOUNCED.replace("ann@example.com", odd)).await;
        let shown = relay.until(&id, "delivered").await;
        assert_eq!(shown["attempts"], 1, "{odd}");
        let told = relay.admin(&format!("/api/events/{id}")).await.text();
        assert!(told.contains("recipient 2 of 2 was left out") && told.contains(why), "{told}");
    }
    let id = relay.accept(&BOUNCED.replace("ann@example.com", "ann@bücher.example")).await;
    relay.until(&id, "delivered").await;
    relay.accept(&BOUNCED.replace("ann@example.com", "ops@Example.com")).await;
    let mails = server.wait_for(4).await;
    assert_eq!(mails[0].to, ["ops@example.com"]);
    assert_eq!(mails[3].to, ["ops@example.com"], "once");
    assert_eq!(mails[1].header("To").as_deref(), Some("ops@example.com"));
    assert_eq!(mails[2].to, ["ops@example.com", "ann@xn--bcher-kva.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_of_an_event_ends_in_a_way_that_servers_read_differently() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{TO_TWO}      html: \"{{{{ user.name }}}}\"\n")).await;
    let smuggled = r"a\r.\r\nMAIL FROM:<x@y.z>\u0000\r\n.\r\u0007";
    relay.accept(&BOUNCED.replace("<b>Änn</b> & co", smuggled)).await;
    let mail = server.wait_for(1).await.remove(0);
    let bare = mail.data.replace("\r\n", "\n");
    assert!(!bare.contains(|c: char| c.is_control() && c != '\n'), "{bare:?}");
    assert_eq!(mail.from, "<relay@example.com>");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_message_twice_because_another_recipient_must_wait() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{TO_TWO}")).await;
    server.says("ann@example.com", ["450 4.2.0 greylisted", "451 4.7.1 still"]);
    let id = relay.accept(BOUNCED).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 3);
    let mails = server.wait_for(1).await;
    assert_eq!(mails.iter().map(|mail| mail.to.clone()).collect::<Vec<_>>(), [["ops@example.com", "ann@example.com"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_starttls_or_by_a_stranger_nothing_is_sent() {
    let server = MailServer::start(Begins::InTheClear);
    let plain = relay(&clear(&server), TO_TWO).await;
    let id = plain.accept(BOUNCED).await;
    let waits = plain.until(&id, "scheduled").await;
    assert!(waits["reason"].as_str().is_some_and(|reason| reason.contains("offers no STARTTLS")), "{waits}");
    // Without `ca` the certificate is one of a stranger.
    let server = MailServer::start(Begins::StartTls);
    let strange = relay(&format!("localhost:{}", server.port()), TO_TWO).await;
    let id = strange.accept(BOUNCED).await;
    let waits = strange.until(&id, "scheduled").await;
    let reason = waits["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("could not connect: the server's certificate has an unknown issuer"), "{reason}");
    assert!(server.mails().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_holds_an_attempt_no_longer_than_its_timeout() {
    let server = MailServer::start(Begins::Silent);
    let more = format!("{IN_THE_CLEAR}{TO_TWO}    timeout: 300ms\n");
    let relay = relay(&clear(&server), &more).await;
    let id = relay.accept(BOUNCED).await;
    relay.until(&id, "scheduled").await;
    eventually("another attempt", async || server.connections() >= 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_came_in_the_clear_behind_starttls_are_not_the_servers() {
    let server = MailServer::start(Begins::StartTls);
    let injected = "220 go on\r\n250 test\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken";
    server.says("STARTTLS", [injected]);
    let relay = relay(&format!("localhost:{}", server.port()), &format!("{TO_TWO}      ca: ca.pem\n")).await;
    let id = relay.accept(BOUNCED).await;
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "the first came to nothing");
    let mails = server.wait_for(1).await;
    assert!(mails.len() == 1 && mails[0].is_encrypted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_says_who_it_is_that_nobody_wrote_the_message_and_where_answers_go() {
    for (begins, hello) in [
        (Begins::StartTls, "relay.example.com"),
        (Begins::InTheClear, "\"[192.0.2.1]\""),
        (Begins::InTheClear, "2001:db8::1"),
    ] {
        let server = MailServer::start(begins);
        let clear = if begins == Begins::InTheClear { IN_THE_CLEAR } else { "      ca: ca.pem\n" };
        let more = format!("{clear}{TO_TWO}      hello: {hello}\n      reply_to: \"Ops <ops@bücher.example>\"\n");
        let relay = relay(&format!("localhost:{}", server.port()), &more).await;
        relay.accept(BOUNCED).await;
        let mail = server.wait_for(1).await.remove(0);
        let expected = match hello {
            "2001:db8::1" => "[IPv6:2001:db8::1]",
            hello => hello.trim_matches('"'),
        };
        assert_eq!(mail.hello, expected);
        assert_eq!(mail.header("Auto-Submitted").as_deref(), Some("auto-generated"));
        assert_eq!(mail.header("Reply-To").as_deref(), Some("Ops <ops@xn--bcher-kva.example>"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_word_of_the_config_the_relay_is_called_as_its_machine_and_answers_go_to_the_sender() {
    for (machine, expected) in [
        (Some("relay.example.com"), "relay.example.com"),
        (Some("vm"), "vm"),
        (Some("192.0.2.1"), "[192.0.2.1]"),
        (Some("build_7"), "[127.0.0.1]"),
        (Some(""), "[127.0.0.1]"),
        (None, "[127.0.0.1]"),
    ] {
        let server = MailServer::start(Begins::InTheClear);
        let config = config(&clear(&server), &format!("{IN_THE_CLEAR}{TO_TWO}"));
        let parsed = Config::parse(Path::new("config.yaml"), format!("{HEAD}{config}"), &Machine(machine));
        let destination = parsed.expect("a good config").0.destinations.remove(0).destination;
        let outcomes = destination.attempt(&[sample(BOUNCED, 1_768_200_000_000)]).await;
        assert!(outcomes[0].is_delivered(), "{machine:?}: {outcomes:?}");
        let mail = server.mails().remove(0);
        assert_eq!(mail.hello, expected, "{machine:?}");
        assert_eq!(mail.header("Auto-Submitted").as_deref(), Some("auto-generated"));
        assert_eq!(mail.header("Reply-To"), None);
    }
}

/// A machine that calls itself so.
struct Machine(Option<&'static str>);

impl Surroundings for Machine {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn host_name(&self) -> Option<String> {
        self.0.map(str::to_owned)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_may_have_taken_the_message_only_when_it_had_it() {
    let server = MailServer::start(Begins::InTheClear);
    // More than waits on its way to a server that reads none of it.
    let large = "{{ user.name }}".repeat(32);
    let more = format!("{IN_THE_CLEAR}      to: ops@example.com\n      html: \"{large}\"\n");
    let relay = relay(&clear(&server), &more).await;
    let large = format!(r#"{{"type":"sent","user":{{"id":1,"name":"{}"}}}}"#, "longer ".repeat(1 << 15));
    let closed = "before it answered";
    let taken = "before it answered; it may have taken the message, which is sent again";
    for (at, event, said, expected) in [
        ("hello", SENT, HANGS_UP, closed),
        ("EHLO", SENT, HANGS_UP, closed),
        ("MAIL", SENT, HANGS_UP, closed),
        ("ops@example.com", SENT, HANGS_UP, closed),
        ("DATA", SENT, HANGS_UP, closed),
        ("DATA", &large, HANGS_UP_WITHIN, "before it had all of the message"),
        (".", SENT, HANGS_UP, taken),
    ] {
        server.says(at, [said]);
        let id = relay.accept(event).await;
        assert_eq!(relay.until(&id, "delivered").await["attempts"], 2, "{at}");
        let noted = || async { relay.admin(&format!("/api/events/{id}")).await.json()["deliveries"][0].clone() };
        eventually("the note", async || noted().await["attempted"][0].is_object()).await;
        let expected = format!("the mail server closed the connection {expected}");
        assert_eq!(noted().await["attempted"][0]["reason"], expected, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_before_tls_is_told_in_the_same_words() {
    let server = MailServer::start(Begins::StartTls);
    let relay = relay(&format!("localhost:{}", server.port()), &format!("{TO_TWO}      ca: ca.pem\n")).await;
    for at in ["hello", "EHLO", "STARTTLS"] {
        server.says(at, [HANGS_UP]);
        let id = relay.accept(BOUNCED).await;
        relay.until(&id, "delivered").await;
        let noted = || async { relay.admin(&format!("/api/events/{id}")).await.json()["deliveries"][0].clone() };
        eventually("the note", async || noted().await["attempted"][0].is_object()).await;
        let reason = noted().await["attempted"][0]["reason"].clone();
        assert_eq!(reason, "the mail server closed the connection before it answered", "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_resets_the_connection_in_place_of_tls_is_told_in_the_same_words() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // What is closed with something unread in it is reset.
            let _ = stream.peek(&mut [0]).await;
        }
    });
    let relay = relay(&format!("smtps://{address}"), &format!("{TO_TWO}      ca: ca.pem\n")).await;
    let id = relay.accept(BOUNCED).await;
    let waits = relay.until(&id, "scheduled").await;
    assert_eq!(waits["reason"], "the mail server closed the connection before it answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_does_not_begin_with_tls_is_told_with_what_to_write() {
    let server = MailServer::start(Begins::InTheClear);
    let relay = relay(&format!("smtps://localhost:{}", server.port()), &format!("{TO_TWO}      ca: ca.pem\n")).await;
    let id = relay.accept(BOUNCED).await;
    let waits = relay.until(&id, "scheduled").await;
    let port = server.port();
    let expected = format!(
        "could not connect: port {port} of the mail server does not speak TLS from the first byte: \
         without `smtps://` in `server` the relay asks for it by STARTTLS"
    );
    assert_eq!(waits["reason"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_refused_is_told_of_the_user() {
    let server = MailServer::start(Begins::InTheClear);
    let login = "      username: relay\n      password: wrong-of-smtp\n      to: ops@example.com\n";
    let relay = relay(&clear(&server), &format!("{IN_THE_CLEAR}{login}")).await;
    relay.accept(SENT).await;
    eventually("the pause", async || relay.destination("mail").await["state"] == "paused").await;
    let told = relay.destination("mail").await.to_string();
    assert!(told.contains("535 for the user"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_nothing_in_it_is_skipped_and_one_with_one_of_its_forms_is_sent() {
    let server = MailServer::start(Begins::InTheClear);
    let directory = tempfile::tempdir().expect("a directory");
    let each = |text: &str, html: &str| {
        let rest = format!(
            "{HEAD}rules: [ {{ to: [mail] }} ]\ndestinations:\n  mail:\n    email:\n      server: \"{}\"\n      from: relay@example.com\n      \
             subject: a\n      text: \"{text}\"\n{html}      to: ops@example.com\n{IN_THE_CLEAR}",
            clear(&server)
        );
        parse(directory.path(), &rest)
    };
    let empty = "{% if type == 'unsubscribed' %}bye{% endif %} \\n";
    for (text, html, is_sent) in [
        (empty, String::new(), false),
        (empty, format!("      html: \"{empty}\"\n"), false),
        (empty, "      html: \"<p></p>\"\n".to_owned(), true),
        ("{{ type }}", format!("      html: \"{empty}\"\n"), true),
    ] {
        let config = each(text, &html);
        let outcomes = config.destinations[0].destination.attempt(&[sample(BOUNCED, 1_768_200_000_000)]).await;
        if is_sent {
            assert!(outcomes[0].is_delivered(), "{text} {html}: {outcomes:?}");
        } else {
            let told = format!("{outcomes:?}");
            assert!(told.contains("the message is empty") && !outcomes[0].is_delivered(), "{told}");
        }
    }
    assert_eq!(server.mails().len(), 2);
}

const PARTS: &str = r#"
rules: [{ to: [mail] }]
destinations:
  mail:
    email:
      server: smtp.example.com
      from: relay@example.com
      to: [ops@example.com, "Ann <{{ user.email }}>"]
      subject: "{{ type | capitalize }}: {{ campaign.name }}"
      text: "in plain"
      html: "<b>{{ campaign.name }}</b>"
tests:
"#;

/// Runs one test of what the email is like.
#[track_caller]
fn expect(content: &str, missed: &[Missed]) {
    let directory = tempfile::tempdir().expect("a directory");
    let event = r#"{ type: bounced, user: { email: ann@example.com }, campaign: { name: "A & B" } }"#;
    let test = format!("  - {{ name: a, event: {event}, expect: {{ content: {{ mail: {content} }} }} }}\n");
    let config = parse(directory.path(), &format!("{HEAD}{PARTS}{test}"));
    assert_eq!(run_tests(&config)[0].missed, missed, "{content}");
}

#[test]
fn a_test_of_a_config_looks_at_each_part_of_an_email_and_at_all_of_it() {
    expect(r#"{ subject: "Bounced: A & B", text: { not: { contains: b } }, html: { contains: "<b>A &amp; B" } }"#, &[]);
    expect(r#"{ to: "ops@example.com, Ann <ann@example.com>" }"#, &[]);
    expect(r#"{ contains: "in plain\n\n<b>" }"#, &[]);
    let missed = |part, expected: &str, got: &str| Missed::Content {
        is_of_digest: false,
        destination: "mail".to_owned(),
        part: Some(part),
        expected: expected.to_owned(),
        got: got.to_owned(),
    };
    let subject = missed("subject", r#"{ starts_with: "Sent" }"#, "Bounced: A & B");
    let text = missed("text", r#""A""#, "in plain");
    expect(r#"{ subject: { starts_with: Sent }, text: A, html: { exists: true } }"#, &[subject, text]);
}

#[test]
fn an_explanation_gives_the_parts_of_an_email_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = parse(directory.path(), &format!("{HEAD}{PARTS}").replace("tests:\n", ""));
    let explained = Explanation::of(&config, BOUNCED.as_bytes(), "vero").expect("an event").json();
    let sends = &explained["deliveries"][0]["sends"];
    assert_eq!(sends["to"], "ops@example.com, Ann <ann@example.com>");
    assert_eq!(sends["subject"], sends["headers"]["subject"]);
    assert_eq!(sends["text"], "in plain");
    assert_eq!(sends["html"], "<b>Käse\r\nBcc: evil@example.com</b>".replace('\r', ""));
}

/// A digest of two events by mail, twice: as it is, and with texts of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_one_letter_and_the_same_one_on_each_attempt() {
    let server = MailServer::start(Begins::InTheClear);
    let section = format!(
        "{{ server: \"{}\", starttls: never, from: relay@example.com, to: \"{{{{ user.email }}}}\", subject: one, text: one }}",
        clear(&server)
    );
    let event = |who: &str, at_ms: u64| {
        let body = format!(r#"{{"type":"bounced","user":{{"email":"{who}"}},"campaign":{{"name":"Käse"}}}}"#);
        sample(body, 1_700_000_000_000 + at_ms)
    };
    let events = vec![event("ann@example.com", 0), event("ann@example.com", 60_000)];
    let group = Group {
        values: vec![("type".into(), "bounced".into()), ("campaign.name".into(), "Käse".into())],
        count: 2,
        since: 1_700_000_000_000,
        until: 1_700_000_060_000,
        parts: Vec::new(),
        other_parts: 0,
    };
    let digest = Digest {
        id: "01a2091f-1b49-8a76-8000-000000000000".into(),
        count: 2,
        since_ms: group.since,
        until_ms: group.until,
        groups: vec![group],
        events: events.clone(),
        left_out: 0,
        page: None,
        address: Some(0),
    };
    let delivery = Delivery { digest: Some(Arc::new(digest)), ..events[0].clone() };
    for own in [
        "",
        "{ subject: \"{{ digest.count }} × {{ type }}\", text: \"{% for e in digest.events %}{{ e.user.email }} {% endfor %}\", html: \"<b>{{ campaign.name }}</b>\" }",
    ] {
        let email = built("email", &section, own, &Client::direct()).unwrap_or_else(|told| panic!("{told:?}"));
        assert!(email.digests());
        assert_eq!(email.address_of(&events[1]).as_deref(), Some("ann@example.com"));
        for _ in 0..2 {
            let outcomes = email.attempt(std::slice::from_ref(&delivery)).await;
            assert!(outcomes[0].is_delivered(), "{outcomes:?}");
        }
    }
    let mails = server.wait_for(4).await;
    assert_eq!((&mails[0].data, &mails[2].data), (&mails[1].data, &mails[3].data), "the same, letter by letter");
    assert!(mails.iter().all(|mail| mail.to == ["ann@example.com"]));
    for mail in &mails {
        assert!(mail.data.contains("Message-ID: <01a2091f-1b49-8a76-8000-000000000000."), "{}", mail.data);
        // When the last of them came.
        assert!(mail.data.contains("Date: Tue, 14 Nov 2023 22:14:20 +0000"), "{}", mail.data);
    }
    assert!(mails[0].data.contains("Subject: 2 =?utf-8?b?w5c=?= bounced "), "{}", mails[0].data);
    assert!(
        mails[2].data.contains("ann@example.com ann@example.com") && mails[2].data.contains("text/html"),
        "{}",
        mails[2].data
    );
}
