//! What may stand in a text that has Slack's markup: <https://docs.slack.dev/messaging/formatting-message-text#escaping>. Pure.

use super::Refusal;

/// What stands for the three signs that mean something.
const ENTITIES: [&str; 3] = ["&amp;", "&lt;", "&gt;"];
/// How a link that Slack follows begins.
const SCHEMES: [&str; 4] = ["http://", "https://", "mailto:", "tel:"];

/// Refuses signs that are not escaped, and mentions that are not among those allowed.
pub fn check(text: &str, mentions: &[String]) -> Result<(), Refusal> {
    let mut at = 0;
    while let Some(found) = text[at..].find(['&', '<', '>']) {
        at += found;
        at += match text.as_bytes()[at] {
            b'&' => entity(&text[at..])?,
            b'<' => angled(&text[at..], mentions)?,
            // A line that begins so is quoted.
            _ if text[..at].rsplit('\n').next().is_some_and(|line| line.chars().all(|c| c == '>')) => 1,
            _ => return Err(unescaped(&text[at..], "a `>` within a line is written &gt;")),
        };
    }
    Ok(())
}

fn unescaped(rest: &str, what: &str) -> Refusal {
    let shown: String = rest.chars().take(40).collect();
    Refusal::new("strict_unescaped", format!("{what}: {shown}"))
}

fn entity(rest: &str) -> Result<usize, Refusal> {
    let entity = ENTITIES.iter().find(|entity| rest.starts_with(**entity));
    entity.map(|entity| entity.len()).ok_or_else(|| unescaped(rest, "a `&` is written &amp;"))
}

/// What stands between `<` and `>`: <https://docs.slack.dev/messaging/formatting-message-text#advanced>.
fn angled(rest: &str, mentions: &[String]) -> Result<usize, Refusal> {
    let is_whole = |end: &usize| !rest[1..*end].contains(['<', '\n']);
    let end =
        rest.find('>').filter(is_whole).ok_or_else(|| unescaped(rest, "a `<` that nothing ends is written &lt;"))?;
    let (whole, inner) = (&rest[..=end], &rest[1..end]);
    if inner.starts_with(['@', '#', '!']) && !inner.starts_with("!date^") {
        let is_allowed = mentions.iter().any(|mention| mention == whole);
        let refused = || Refusal::new("strict_mention", format!("nobody allowed {whole}, which calls people"));
        return if is_allowed { Ok(whole.len()) } else { Err(refused()) };
    }
    let (target, label) = inner.split_once('|').unwrap_or((inner, "a link"));
    let leads = inner.starts_with("!date^") || SCHEMES.iter().any(|scheme| target.starts_with(scheme));
    if !leads || label.trim().is_empty() || target.contains(char::is_whitespace) && !inner.starts_with('!') {
        return Err(unescaped(rest, "this is no link, so its `<` is written &lt;"));
    }
    // Within it the sign `&` is escaped like everywhere.
    inner.match_indices('&').try_for_each(|(at, _)| entity(&inner[at..]).map(|_| ()))?;
    Ok(whole.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn holds(text: &str) {
        assert_eq!(check(text, &["<!here>".to_owned()]), Ok(()), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, word: &str) {
        let refusal = check(text, &["<!here>".to_owned()]).expect_err(text);
        assert_eq!(refusal.word, word, "{text}: {}", refusal.about);
    }

    #[test]
    fn the_three_signs_are_escaped_or_mean_something() {
        holds("R&amp;D &lt;x&gt;");
        refused("R&D", "strict_unescaped");
        refused("R&amp", "strict_unescaped");
        refused("a < b", "strict_unescaped");
        refused("a <b> c", "strict_unescaped");
        holds("> quoted\n>>> quoted");
        refused("a > b", "strict_unescaped");
        holds("<https://example.com/?a=1&amp;b=2|see> and <mailto:a@b.de>");
        refused("<https://example.com/?a=1&b=2|see>", "strict_unescaped");
        refused("<https://example.com/\n|see>", "strict_unescaped");
        refused("<https://example.com/|see", "strict_unescaped");
        refused("<javascript:x|see>", "strict_unescaped");
        refused("<https://a b|see>", "strict_unescaped");
        refused("<https://example.com/| >", "strict_unescaped");
        holds("<!date^1392734382^{date} at {time}|then>");
    }

    #[test]
    fn who_is_called_was_allowed_to_be() {
        holds("<!here> look");
        refused("<!channel> look", "strict_mention");
        refused("<@U1>", "strict_mention");
        refused("<#C1|general>", "strict_mention");
        holds("&lt;!channel&gt; is not called");
    }
}
