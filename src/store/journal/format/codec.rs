//! Integers and texts, to bytes and back.

use crate::store::NameKind;
use crate::store::queues::TEXT_MAX;

pub(super) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.u16()? as usize;
        String::from_utf8(self.bytes(length)?.to_vec()).ok()
    }
}

pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Writes a text, cut to [`TEXT_MAX`] bytes on a character's boundary.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT_MAX)];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a group is far smaller than 4 GiB: the writer closes it at GROUP_BYTES_MAX")
}

pub(super) fn kind_to_u8(kind: NameKind) -> u8 {
    match kind {
        NameKind::Destination => 1,
        NameKind::Source => 2,
        NameKind::Rule => 3,
    }
}

pub(super) fn kind_from_u8(byte: u8) -> Option<NameKind> {
    match byte {
        1 => Some(NameKind::Destination),
        2 => Some(NameKind::Source),
        3 => Some(NameKind::Rule),
        _ => None,
    }
}
