//! What destinations remember between their attempts: texts under keys, of which the oldest go where there are too many. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::store::{NameId, REMEMBERED_MAX};

/// What all destinations remember, as the index has it or will have it.
#[derive(Debug, Default)]
pub struct Remembered {
    of: HashMap<NameId, Texts>,
    /// Counts what was written: of two the one with the smaller number is the older.
    last: u64,
}

#[derive(Debug, Default)]
struct Texts {
    by_key: HashMap<String, (u64, String)>,
    by_age: BTreeMap<u64, String>,
}

/// One text, as the index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedRow {
    pub of: NameId,
    pub key: String,
    /// Nothing: it is remembered no longer.
    pub text: Option<String>,
    /// Greater than that of all that were written before.
    pub number: u64,
}

impl Remembered {
    /// What the index has, in any order.
    pub fn known(rows: Vec<RememberedRow>) -> Self {
        let mut all = Self::default();
        for RememberedRow { of, key, text, number } in rows {
            all.last = all.last.max(number);
            if let Some(text) = text {
                let texts = all.of.entry(of).or_default();
                texts.by_age.insert(number, key.clone());
                texts.by_key.insert(key, (number, text));
            }
        }
        all
    }

    /// What there is of one destination, in the place of what was known.
    pub fn load(&mut self, of: NameId, rows: Vec<RememberedRow>) {
        self.forget(&[of]);
        let Self { of: texts, last } = Self::known(rows);
        self.of.extend(texts);
        self.last = self.last.max(last);
    }

    pub fn get(&self, of: NameId, key: &str) -> Option<&str> {
        Some(&self.of.get(&of)?.by_key.get(key)?.1)
    }

    /// Writes a text in the place of what stood there, or takes that away. Returns what is to be written, with what had to go.
    pub fn set(&mut self, of: NameId, key: &str, text: Option<String>) -> Vec<RememberedRow> {
        self.last += 1;
        let number = self.last;
        let texts = self.of.entry(of).or_default();
        if let Some((before, _)) = texts.by_key.remove(key) {
            texts.by_age.remove(&before);
        }
        if let Some(text) = &text {
            texts.by_key.insert(key.to_owned(), (number, text.clone()));
            texts.by_age.insert(number, key.to_owned());
        }
        let mut rows = vec![RememberedRow { of, key: key.to_owned(), text, number }];
        while texts.by_key.len() > REMEMBERED_MAX
            && let Some((number, oldest)) = texts.by_age.pop_first()
        {
            texts.by_key.remove(&oldest);
            rows.push(RememberedRow { of, key: oldest, text: None, number });
        }
        rows
    }

    /// Destinations that nothing refers to any more.
    pub fn forget(&mut self, gone: &[NameId]) {
        gone.iter().for_each(|of| drop(self.of.remove(of)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NameId = NameId(1);
    const B: NameId = NameId(2);

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn each_destination_has_its_own_and_what_was_written_last_counts() {
        let mut all = Remembered::default();
        let mut rows = all.set(A, "k", text("one"));
        rows.extend(all.set(B, "k", text("of b")));
        rows.extend(all.set(A, "k", text("two")));
        rows.extend(all.set(B, "gone", text("x")));
        rows.extend(all.set(B, "gone", None));
        let check = |all: &Remembered| {
            assert_eq!(
                [all.get(A, "k"), all.get(B, "k"), all.get(A, "l"), all.get(B, "gone")],
                [Some("two"), Some("of b"), None, None]
            );
        };
        check(&all);
        // A row takes the place of the one with its key.
        rows.retain(|row| row.text != text("one") && row.text != text("x"));
        rows.reverse();
        check(&Remembered::known(rows));
        all.forget(&[B]);
        assert_eq!([all.get(A, "k"), all.get(B, "k")], [Some("two"), None]);
    }

    #[test]
    fn with_one_too_many_the_one_that_was_written_first_goes() {
        let mut all = Remembered::default();
        let mut rows = Vec::new();
        for number in 0..REMEMBERED_MAX {
            rows.extend(all.set(A, &number.to_string(), text("x")));
        }
        assert_eq!(rows.len(), REMEMBERED_MAX, "there is room for so many");
        assert_eq!(all.set(A, "0", text("written again")).len(), 1);
        assert_eq!(all.set(B, "another's", text("x")).len(), 1);
        let mut again = Remembered::known(rows);
        for (all, oldest) in [(&mut all, "1"), (&mut again, "0")] {
            let rows = all.set(A, "one more", text("x"));
            assert_eq!((rows.len(), rows[1].key.as_str(), &rows[1].text), (2, oldest, &None));
            assert_eq!([all.get(A, oldest), all.get(A, "2")], [None, Some("x")]);
        }
    }
}
