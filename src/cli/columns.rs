//! Rows in columns, as wide as the terminal that shows them: the longest texts give way first, and a row that would be all dots takes two lines.
//!
//! In a pipe nothing is shortened: each column is filled up to a width that is always the same, and a longer text moves the rest of its row.
//! Widths are those on a terminal: a Chinese sign takes two columns, an accent none.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::terminal::paint;

/// Columns below which a text says nothing any more (`ann@ex…mple.com`).
pub(super) const LEAST: usize = 16;
/// What the second line of a row begins with.
const INDENT: &str = "    ";
/// Between the parts of a list.
const BETWEEN: &str = ", ";

/// A column of a list.
pub(super) struct Column {
    /// What stands before it on the same line.
    before: &'static str,
    /// In a pipe, it is filled up to this.
    filled: usize,
    cut: Cut,
}

/// A column that is never shortened: an id that is cut can be asked for no more.
pub(super) const fn whole(before: &'static str, filled: usize) -> Column {
    Column { before, filled, cut: Cut::Never }
}

/// A column of which the end goes.
pub(super) const fn end(before: &'static str, filled: usize) -> Column {
    Column { before, filled, cut: Cut::End }
}

/// A column of which the middle goes: what tells an address or a path from others is also at its end.
pub(super) const fn middle(before: &'static str, filled: usize) -> Column {
    Column { before, filled, cut: Cut::Middle }
}

/// Where a text is shortened.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Never,
    End,
    Middle,
}

/// The columns of a list.
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    /// Where a row takes two lines, the second begins with this column.
    pub(super) second_line: usize,
    /// Before a text that is shortened has fewer columns than this, a row takes two lines.
    pub(super) least: usize,
}

/// A text of a row, or a list of them.
pub(super) struct Cell(Vec<Part>);

/// One of a list: a text, and how it is with that, in a colour.
pub(super) struct Part {
    pub(super) text: String,
    pub(super) painted: Option<(&'static str, String)>,
    /// Where not all of a list can be shown, the least stands first.
    pub(super) order: usize,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(vec![Part { text, painted: None, order: 0 }])
    }
}

impl Cell {
    pub(super) fn list(parts: Vec<Part>) -> Self {
        Self(parts)
    }

    pub(super) fn painted(colour: &'static str, text: String) -> Self {
        Self(vec![Part { text: String::new(), painted: Some((colour, text)), order: 0 }])
    }

    fn width(&self) -> usize {
        self.pieces().iter().map(|(text, _)| text.width()).sum()
    }

    fn pieces(&self) -> Vec<(&str, Option<&'static str>)> {
        let mut pieces = Vec::new();
        for part in &self.0 {
            if !pieces.is_empty() {
                pieces.push((BETWEEN, None));
            }
            pieces.push((part.text.as_str(), None));
            if let Some((colour, text)) = &part.painted {
                let gap = if part.text.is_empty() { "" } else { " " };
                pieces.extend([(gap, None), (text.as_str(), Some(*colour))]);
            }
        }
        pieces
    }

    /// What is printed within a width, which only a column that is never cut may pass; and how wide that is.
    fn within(mut self, width: usize, cut: Cut) -> (String, usize) {
        let own = self.width();
        if cut == Cut::Never || own <= width {
            return (self.pieces().iter().map(|(text, colour)| painted(*colour, text)).collect(), own);
        }
        if cut == Cut::Middle {
            let whole: String = self.pieces().iter().map(|(text, _)| *text).collect();
            let text = without_middle(&whole, width);
            let width = text.width();
            return (text, width);
        }
        self.0.sort_by_key(|part| part.order);
        let mut out = String::new();
        let mut taken = 0;
        for (text, colour) in self.pieces() {
            let kept = beginning(text, width.saturating_sub(1 + taken));
            out.push_str(&painted(colour, kept));
            taken += kept.width();
            if kept.len() < text.len() {
                break;
            }
        }
        (out + "…", taken + 1)
    }
}

fn painted(colour: Option<&'static str>, text: &str) -> String {
    match colour {
        Some(colour) if !text.is_empty() => paint(colour, text),
        _ => text.to_owned(),
    }
}

/// As much of a text's beginning as a width holds.
fn beginning(text: &str, width: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken > width
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// As much of a text's end as a width holds. It begins with no accent of a letter that is not there.
fn ending(text: &str, width: usize) -> &str {
    let mut taken = 0;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        let own = c.width().unwrap_or(0);
        taken += own;
        if taken > width {
            break;
        }
        if own > 0 {
            start = at;
        }
    }
    &text[start..]
}

fn without_middle(text: &str, width: usize) -> String {
    let kept = width.saturating_sub(1);
    format!("{}…{}", beginning(text, kept.div_ceil(2)), ending(text, kept / 2))
}

/// A text without its end where it is wider than this many columns; where there is no terminal, all of it.
pub(super) fn cut(text: String, width: Option<usize>) -> String {
    match width {
        Some(width) => Cell::from(text).within(width, Cut::End).0,
        None => text,
    }
}

/// How wide the columns of a list are.
pub(super) struct Layout {
    table: &'static Table,
    /// None in a pipe.
    widths: Option<Vec<usize>>,
    takes_two_lines: bool,
}

impl Layout {
    /// For rows that are all there.
    pub(super) fn of(table: &'static Table, rows: &[Vec<Cell>], terminal: Option<usize>) -> Self {
        let widest = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
        let wished: Vec<_> = (0..table.columns.len()).map(widest).collect();
        Self::wished(table, &wished, terminal)
    }

    /// For rows that are still to come, by how wide each column would be with all the room there is.
    pub(super) fn wished(table: &'static Table, wished: &[usize], terminal: Option<usize>) -> Self {
        let Some(terminal) = terminal else { return Self { table, widths: None, takes_two_lines: false } };
        if let Some(widths) = shared(table.columns, wished, terminal, table.least) {
            return Self { table, widths: Some(widths), takes_two_lines: false };
        }
        let at = table.second_line;
        // Where even two lines hold too little, something of each text is there, and the terminal breaks the line.
        let half = |columns, wished, room| shared(columns, wished, room, 0).unwrap_or_default();
        let mut widths = half(&table.columns[..at], &wished[..at], terminal);
        // The second line begins with the indent instead of what stands before its first column.
        let room = (terminal + table.columns[at].before.width()).saturating_sub(INDENT.width());
        widths.extend(half(&table.columns[at..], &wished[at..], room));
        Self { table, widths: Some(widths), takes_two_lines: true }
    }

    /// A row, as it is printed.
    pub(super) fn row(&self, cells: Vec<Cell>) -> String {
        let mut out = String::new();
        for (at, (column, cell)) in self.table.columns.iter().zip(cells).enumerate() {
            let begins_line = self.takes_two_lines && at == self.table.second_line;
            if begins_line {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
            }
            out.push_str(if begins_line { INDENT } else { column.before });
            let (filled, (text, width)) = match &self.widths {
                Some(widths) => (widths[at], cell.within(widths[at], column.cut)),
                None => (column.filled, cell.within(usize::MAX, Cut::Never)),
            };
            out.push_str(&text);
            out.extend(std::iter::repeat_n(' ', filled.saturating_sub(width)));
        }
        out.truncate(out.trim_end_matches(' ').len());
        out
    }
}

/// How a line's room is shared: each column has what it wishes, or else the widest give way until all fit; what is left over is the last one's.
/// None where a column would have less than the least.
fn shared(columns: &[Column], wished: &[usize], terminal: usize, least: usize) -> Option<Vec<usize>> {
    let gaps: usize = columns.iter().map(|column| column.before.width()).sum();
    let of = |is_cut: bool| {
        let those = columns.iter().zip(wished).filter(move |(column, _)| (column.cut != Cut::Never) == is_cut);
        those.map(|(_, wished)| *wished)
    };
    let room = terminal.saturating_sub(gaps + of(false).sum::<usize>());
    let taken = |most: usize| of(true).map(|wished| wished.min(most)).sum::<usize>();
    let most = if taken(usize::MAX) <= room {
        usize::MAX
    } else {
        (1..=room).rev().find(|most| taken(*most) <= room).unwrap_or(1)
    };
    if most < least {
        return None;
    }
    let width =
        |(column, wished): (&Column, &usize)| if column.cut == Cut::Never { *wished } else { (*wished).min(most) };
    let mut widths: Vec<_> = columns.iter().zip(wished).map(width).collect();
    let left = room.saturating_sub(taken(most));
    if let (Some(width), Some(Column { cut: Cut::End | Cut::Middle, .. })) = (widths.last_mut(), columns.last()) {
        *width += left;
    }
    Some(widths)
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: Table =
        Table { columns: &[whole("", 4), end("  ", 6), middle(" ", 8), end(" → ", 0)], second_line: 2, least: LEAST };

    fn row(texts: [&str; 4]) -> Vec<Cell> {
        texts.map(|text| Cell::from(text.to_owned())).into()
    }

    #[track_caller]
    fn check(terminal: Option<usize>, rows: &[[&str; 4]], expected: &[&str]) {
        let rows = || rows.iter().map(|texts| row(*texts));
        let layout = Layout::of(&TABLE, &rows().collect::<Vec<_>>(), terminal);
        let printed: Vec<_> = rows().map(|row| layout.row(row)).collect();
        for line in printed.iter().flat_map(|row| row.lines()) {
            assert!(terminal.is_none_or(|width| line.width() <= width), "{} columns: {line}", line.width());
        }
        assert_eq!(printed, expected);
    }

    const LONG: [&str; 4] = [
        "id-1",
        "a type that somebody made up, with a long name",
        "a.person.with.a.long.name@subdomain.example.com",
        "crm delivered, slack dead, archive delivered, and more than that",
    ];

    #[test]
    fn in_a_pipe_nothing_is_shortened_and_columns_are_as_wide_as_ever() {
        check(
            None,
            &[["id-1", "a", "b", "c"], ["id-2", "longer than six", "b", ""], LONG],
            &[
                "id-1  a      b        → c",
                "id-2  longer than six b        →",
                &format!("{}  {} {} → {}", LONG[0], LONG[1], LONG[2], LONG[3]),
            ],
        );
    }

    #[test]
    fn at_200_columns_all_is_there_and_stands_in_columns() {
        check(
            Some(200),
            &[["id-1", "bounced", "ann@example.com", "crm dead"], LONG],
            &[
                &format!("id-1  bounced{} ann@example.com{} → crm dead", " ".repeat(39), " ".repeat(32)),
                &format!("{}  {} {} → {}", LONG[0], LONG[1], LONG[2], LONG[3]),
            ],
        );
    }

    #[test]
    fn at_80_columns_the_widest_give_way_and_the_columns_hold() {
        check(
            Some(80),
            &[["id-1", "bounced", "ann@example.com", "crm dead"], LONG],
            &[
                "id-1  bounced                 ann@example.com         → crm dead",
                "id-1  a type that somebody m… a.person.wi…example.com → crm delivered, slack de…",
            ],
        );
    }

    #[test]
    fn where_too_little_would_be_left_a_row_takes_two_lines_and_an_id_is_never_cut() {
        check(
            Some(40),
            &[LONG],
            &["id-1  a type that somebody made up, wit…\n    a.person…ple.com → crm delivered, s…"],
        );
        check_narrow(6, "id-1  …\n    … → …");
    }

    #[track_caller]
    fn check_narrow(terminal: usize, expected: &str) {
        assert_eq!(Layout::of(&TABLE, &[row(LONG)], Some(terminal)).row(row(LONG)), expected);
    }

    #[test]
    fn a_sign_is_as_wide_as_it_is_on_a_terminal() {
        assert_eq!(["漢字".width(), "e\u{301}".width(), "👍".width()], [4, 1, 2]);
        assert_eq!(cut("漢字漢字".to_owned(), Some(8)), "漢字漢字");
        // Three columns are left beside the dots, and no sign is cut in two.
        assert_eq!(cut("漢字漢字".to_owned(), Some(4)), "漢…");
        assert_eq!(without_middle("漢字漢字漢字", 7), "漢…字");
        assert_eq!(without_middle("abcde\u{301}fe\u{301}", 5), "ab…fe\u{301}");
        assert_eq!(without_middle("abcdefghie\u{301}", 2), "a…");
        check(
            None,
            &[["id-1", "漢字", "b", "c"], ["id-2", "e\u{301}", "b", "c"]],
            &["id-1  漢字   b        → c", "id-2  e\u{301}      b        → c"],
        );
    }

    #[test]
    fn of_a_list_that_is_cut_the_worst_is_shown() {
        let part = |text: &str, state: &str, order| Part {
            text: text.to_owned(),
            painted: Some(("32", state.to_owned())),
            order,
        };
        let cell =
            || Cell::list(vec![part("crm", "delivered", 2), part("slack", "dead", 0), part("log", "scheduled", 1)]);
        assert_eq!(cell().within(40, Cut::End).0, "crm delivered, slack dead, log scheduled");
        assert_eq!(cell().within(39, Cut::End), ("slack dead, log scheduled, crm deliver…".to_owned(), 39));
        assert_eq!(cell().within(10, Cut::End).0, "slack dea…");
    }

    #[test]
    fn who_has_not_seen_its_rows_shares_the_room_by_what_it_wishes() {
        let widths = |terminal| Layout::wished(&TABLE, &[4, 20, 40, 40], Some(terminal)).widths;
        assert_eq!(widths(200), Some(vec![4, 20, 40, 130]));
        assert_eq!(widths(80), Some(vec![4, 20, 25, 25]));
    }
}
