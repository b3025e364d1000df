//! Texts as long as Slack takes them: values are cut before a template's own words, and neither entities nor links are halved.

use super::super::cut::cut;
use super::super::template::Template;
use super::super::view::View;

/// Renders within a limit: the values are cut, ever shorter, before the template's own text is.
pub fn fit(template: &Template, view: &View, characters_max: usize) -> Result<String, String> {
    let mut cap = characters_max;
    loop {
        let rendered = template.render(view, Some(cap))?;
        if rendered.chars().count() <= characters_max {
            return Ok(rendered);
        }
        if cap <= 16 {
            return Ok(cut_outside_entities(&rendered, characters_max).to_owned());
        }
        cap /= 2;
    }
}

/// How what leads somewhere begins, in a template's own text: values are escaped. The last has lost its address.
const LINKS: [&str; 5] = ["<http://", "<https://", "<mailto:", "<tel:", "<|"];

/// Where a link ends that begins a text.
fn link_end(text: &str) -> Option<usize> {
    LINKS.iter().any(|link| text.starts_with(link)).then(|| text.find('>')).flatten()
}

/// Links are on one line, whatever their label is; one whose address came out empty is its label.
pub fn mended(text: String) -> String {
    if !LINKS.iter().any(|link| text.contains(link)) {
        return text;
    }
    let mut mended = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('<') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = link_end(rest).map_or(1, |end| end + 1);
        let (link, behind) = rest.split_at(length);
        rest = behind;
        let label = link.strip_prefix("<|").and_then(|label| label.strip_suffix('>'));
        mended.push_str(&label.unwrap_or(link).replace(['\n', '\r'], " "));
    }
    mended.push_str(rest);
    mended
}

/// Cuts a text, never within an entity like `&amp;`, nor within a link: half of it leads nowhere. A `&` or a `<` that begins none is a character
/// like any other.
pub fn cut_outside_entities(text: &str, characters_max: usize) -> &str {
    const ENTITIES: [&str; 3] = ["&amp;", "&lt;", "&gt;"];
    let cut = cut(text, characters_max);
    let is_halved =
        |at: usize| ENTITIES.iter().any(|entity| text[at..].starts_with(entity) && at + entity.len() > cut.len());
    let cut = cut.rfind('&').filter(|at| is_halved(*at)).map_or(cut, |at| &cut[..at]);
    let ends_beyond = |at: &usize| link_end(&text[*at..]).is_some_and(|end| at + end >= cut.len());
    cut.rfind('<').filter(ends_beyond).map_or(cut, |at| &cut[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_halves_neither_an_entity_nor_a_link() {
        assert_eq!(cut_outside_entities("ab&amp;", 5), "ab");
        assert_eq!(cut_outside_entities("ab&amp;c", 7), "ab&amp;");
        assert_eq!(cut_outside_entities("Tom & Jerry and more", 11), "Tom & Jerry");
        for (text, most, expected) in [
            ("a <http://x|y> b", 14, "a <http://x|y>"),
            ("a <http://x|y> b", 13, "a "),
            ("a <http://x|y> b", 3, "a "),
            ("a < b and c", 6, "a < b "),
            ("a < b\n> c", 4, "a < "),
        ] {
            assert_eq!(cut_outside_entities(text, most), expected, "{text} {most}");
        }
    }

    #[test]
    fn a_link_is_on_one_line_and_without_an_address_its_label() {
        let check = |text: &str, expected: &str| assert_eq!(mended(text.to_owned()), expected);
        check("a <|x> b <|y> <http://z|z>", "a x b y <http://z|z>");
        check("<|x", "<|x");
        check("<|x\ny> < b\n> c <http://z|d\ne>", "x y < b\n> c <http://z|d e>");
        check("<|>", "");
    }
}
