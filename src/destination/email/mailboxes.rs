//! Addresses of an `email:` destination: who sends, where answers go and who gets the message, read from its section; and what a template
//! came to.

use lettre::Address;
use lettre::message::Mailbox;

use super::settings::ascii_host;
use crate::destination::template::{Escape, Template, is_template};
use crate::fault::Fault;
use crate::tags;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// More recipients in one transaction are refused by common servers: RFC 5321 asks for a hundred.
const RECIPIENTS_MAX: usize = 100;

pub(super) fn read_from(reader: &Reader, node: &Node) -> Option<Mailbox> {
    let fixed =
        Fixed { who: "the sender", bare: "from: relay@example.com", named: "from: \"Vero <relay@example.com>\"" };
    read_fixed(reader, node, &fixed)
}

pub(super) fn read_reply_to(reader: &Reader, node: &Node) -> Option<Mailbox> {
    let fixed = Fixed {
        who: "where answers go",
        bare: "reply_to: support@example.com",
        named: "reply_to: \"Support <support@example.com>\"",
    };
    read_fixed(reader, node, &fixed)
}

/// An address that no event has a part in.
struct Fixed {
    who: &'static str,
    /// How it is written.
    bare: &'static str,
    /// The same with a name.
    named: &'static str,
}

fn read_fixed(reader: &Reader, node: &Node, fixed: &Fixed) -> Option<Mailbox> {
    let Fixed { who, bare, named } = *fixed;
    let text = reader.text(node)?;
    if is_template(text) {
        let message =
            format!("{who} is the same for every event: templates go into `to`, `subject`, `text` and `html`");
        reader.error_with(node.id, message, format!("write {bare}"));
        return None;
    }
    let read = mailbox(text);
    if read.is_none() {
        let help = format!("write {bare}, or {named}");
        reader.error_with(node.id, format!("`{text}` is not an address of email"), help);
    }
    read
}

pub(super) fn read_to(reader: &Reader, node: &Node) -> Option<Vec<Template>> {
    let items = reader.list(node);
    if items.is_empty() || items.len() > RECIPIENTS_MAX {
        let help = "write to: ops@example.com, or a list".to_owned();
        reader.error_with(node.id, format!("a message has from 1 to {RECIPIENTS_MAX} recipients"), help);
        return None;
    }
    let read: Vec<_> = items.iter().map(|item| read_recipient(reader, item)).collect();
    read.into_iter().collect()
}

fn read_recipient(reader: &Reader, node: &Node) -> Option<Template> {
    let text = reader.text(node)?;
    if !is_template(text) && mailbox(text).is_none() {
        let help = "write to: ops@example.com; several stand in a list".to_owned();
        reader.error_with(node.id, format!("`{text}` is not an address of email"), help);
        return None;
    }
    if let Some(at) = separator(text) {
        let message = "each recipient is one address, and this separates several".to_owned();
        let help = Some("several stand in a list: to: [ops@example.com, \"{{ user.email }}\"]".to_owned());
        reader.fault(node.id, Fault { message, help, within: Some(at..at + 1) });
        return None;
    }
    Template::compile(text, Escape::None).map_err(|fault| reader.fault(node.id, fault)).ok()
}

/// Where a template's own text separates addresses: a comma or a semicolon in no quotes and in no brackets.
fn separator(template: &str) -> Option<usize> {
    let mut open = None;
    for text in tags::texts(template) {
        let mut rest = template[text.clone()].char_indices();
        while let Some((at, c)) = rest.next() {
            match (open, c) {
                (None, ',' | ';') => return Some(text.start + at),
                (None, '"') => open = Some('"'),
                (None, '<') => open = Some('>'),
                (None, '(') => open = Some(')'),
                (Some(_), '\\') => drop(rest.next()),
                (Some(close), c) if c == close => open = None,
                _ => {}
            }
        }
    }
    None
}

/// One address, with a name or without. Nothing with a control character is one: it could begin a line of its own.
pub(super) fn mailbox(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    let mailbox: Mailbox = if text.contains(char::is_control) { None } else { text.parse().ok() }?;
    let email = Address::new(mailbox.email.user(), ascii_domain(mailbox.email.domain())?).ok()?;
    Some(Mailbox { email, ..mailbox })
}

/// The domain of an address as every server knows it, fit also for a header that is never encoded (RFC 5322, 3.6.4).
fn ascii_domain(domain: &str) -> Option<String> {
    if domain.is_ascii() { Some(domain.to_owned()) } else { ascii_host(domain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_in_other_letters_is_written_in_ascii() {
        for (domain, expected) in [
            ("example.com", "example.com"),
            ("[127.0.0.1]", "[127.0.0.1]"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(ascii_domain(domain).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_separates_addresses_stands_outside_quotes_brackets_and_templates() {
        for (template, expected) in [
            ("{{ a }}, b@c.d", Some(7)),
            ("{{ a }};", Some(7)),
            ("{% if a %}{{ a }},{% endif %}b@c.d", Some(17)),
            ("\"a, b\" <{{ a }}>, c@d.e", Some(16)),
            ("\"{{ a }}, {{ b }}\" <{{ c }}>", None),
            ("\"a\\\", b\" <{{ c }}>", None),
            ("{{ a | replace(',', ';') }}", None),
            ("{# a, b #}{{ c }}", None),
            ("{{ a }} (b, c)", None),
            (r#"{{ "}}" }}, b@c.d"#, Some(10)),
            (r#"{{ a | replace("}}, ", "") }}"#, None),
            ("{{ user.email | default('}}, b') }}", None),
            (r#"{% if a == "%}," %}{{ a }}{% endif %};"#, Some(37)),
            ("{% raw %}{{ a, b{% endraw %}", Some(13)),
            ("\"{% raw %}{{ a, b{%- endraw -%}\" <{{ c }}>", None),
            ("{{ {'a': {'b': c}}.a.b }};", Some(25)),
            ("{{ a, b", None),
        ] {
            assert_eq!(separator(template), expected, "{template}");
        }
    }
}
