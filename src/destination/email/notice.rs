//! What an operator is told, as a letter to those whom the section names.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Email;
use super::letter::{Letter, NO_ADDRESS, plain_lines, subject_of};
use super::mailboxes::mailbox;
use crate::destination::Outcome;
use crate::destination::notice::{Notice, Teller};

impl Teller for Email {
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Outcome> {
        async { self.send(self.letter_of(notice)).await }.boxed()
    }
}

impl Email {
    fn letter_of(&self, notice: &Notice) -> Letter {
        let to = self.to.iter().filter_map(|to| to.fixed()).map(|to| mailbox(to).ok_or(NO_ADDRESS));
        Letter {
            to: to.collect(),
            subject: subject_of(&notice.title),
            text: plain_lines(&notice.plain()),
            html: None,
            id: format!("{}.{}", notice.id, self.name_digest),
            received_ms: notice.at_ms,
        }
    }
}
