//! `Content-Encoding`: a body that came packed is unpacked before anybody looks at it, within the limit of plain ones.

use std::io::{ErrorKind, Read};

use bytes::Bytes;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;

use crate::listener::body::{BodyError, Intake};

/// What is taken, for `Accept-Encoding`.
pub const TAKEN: &str = "gzip, deflate, identity";
/// Bytes unpacked in one go, before others have their turn: a fraction of a millisecond.
const STEP: usize = 64 << 10;

/// A gzip file may be several, one behind the other. Nobody sends a body so; thousands of empty ones would be work without end.
const MEMBERS_MAX: usize = 64;

/// How a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Plain,
    Gzip,
    /// In zlib's format, which is what HTTP calls `deflate`.
    Deflate,
}

impl Coding {
    /// The one coding that a request names; `None` for one that is not known, and for several.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut named = headers.get_all(http::header::CONTENT_ENCODING).iter();
        let Some(value) = named.next() else { return Some(Self::Plain) };
        if named.next().is_some() {
            return None;
        }
        let value = value.to_str().ok()?.trim();
        let is = |names: &[&str]| names.iter().any(|name| value.eq_ignore_ascii_case(name));
        match () {
            () if is(&["", "identity"]) => Some(Self::Plain),
            () if is(&["gzip", "x-gzip"]) => Some(Self::Gzip),
            () if is(&["deflate"]) => Some(Self::Deflate),
            () => None,
        }
    }

    /// Unpacks a body. What it grows to counts among the others' bytes while it grows, and the packed bytes count with it, not beside
    /// it: a body that may come in needs no more room than it is long, or it would wait for the room that it holds itself. While it is
    /// unpacked there may so be twice as many bytes as are counted.
    pub async fn unpack(
        self,
        packed: Bytes,
        mut permit: OwnedSemaphorePermit,
        bytes_max: usize,
        intake: &Intake,
    ) -> Result<(Bytes, OwnedSemaphorePermit), BodyError> {
        let mut decoder: Box<dyn Read + Send + '_> = match self {
            Self::Plain => return Ok((packed, permit)),
            Self::Gzip => Box::new(Members { decoder: GzDecoder::new(&packed[..]), read: 1 }),
            Self::Deflate => Box::new(ZlibDecoder::new(&packed[..])),
        };
        let mut body = Vec::new();
        let mut step = vec![0; STEP];
        loop {
            let read = match decoder.read(&mut step) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(BodyError::Truncated),
                Err(_) => return Err(BodyError::Corrupt),
            };
            if read > bytes_max - body.len() {
                return Err(BodyError::TooLargeUnpacked(bytes_max));
            }
            let lacking = (body.len() + read).saturating_sub(permit.num_permits());
            permit.merge(intake.take(lacking).await?);
            body.extend_from_slice(&step[..read]);
            tokio::task::yield_now().await;
        }
        body.shrink_to_fit();
        // A body may have come longer than it is.
        drop(permit.split(permit.num_permits().saturating_sub(body.len())));
        Ok((Bytes::from(body), permit))
    }
}

/// The members of a gzip file, one after the other.
struct Members<'p> {
    decoder: GzDecoder<&'p [u8]>,
    read: usize,
}

impl Read for Members<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.decoder.read(into)?;
            // Zeros fill up a block, and are nothing (RFC 1952 says nothing of them; gzip takes them so).
            let rest = *self.decoder.get_ref();
            if read > 0 || rest.iter().all(|byte| *byte == 0) {
                return Ok(read);
            }
            if self.read == MEMBERS_MAX {
                return Err(std::io::Error::new(ErrorKind::InvalidData, "too many members"));
            }
            self.read += 1;
            self.decoder = GzDecoder::new(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(values: &[&'static str], expected: Option<Coding>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(http::header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        assert_eq!(Coding::of(&headers), expected, "{values:?}");
    }

    #[test]
    fn a_gzip_file_has_so_many_members_and_no_more() {
        let member = |text: &str| {
            let mut packed = Vec::new();
            let mut encoder = flate2::bufread::GzEncoder::new(text.as_bytes(), flate2::Compression::fast());
            encoder.read_to_end(&mut packed).expect("packed");
            packed
        };
        let unpacked = |members: usize, padding: usize| {
            let packed = [member("").repeat(members - 1), member("{}"), vec![0; padding]].concat();
            let mut out = String::new();
            let mut reader = Members { decoder: GzDecoder::new(&packed[..]), read: 1 };
            reader.read_to_string(&mut out).map(|_| out).map_err(|error| error.kind())
        };
        assert_eq!(unpacked(1, 0), Ok("{}".to_owned()));
        assert_eq!(unpacked(1, 512), Ok("{}".to_owned()), "zeros behind it are nothing");
        assert_eq!(unpacked(MEMBERS_MAX, 0), Ok("{}".to_owned()));
        assert_eq!(unpacked(MEMBERS_MAX + 1, 0), Err(ErrorKind::InvalidData));
    }

    #[test]
    fn one_known_coding_is_taken_and_nothing_else() {
        check(&[], Some(Coding::Plain));
        check(&[""], Some(Coding::Plain));
        check(&["identity"], Some(Coding::Plain));
        check(&["gzip"], Some(Coding::Gzip));
        check(&[" GZIP "], Some(Coding::Gzip));
        check(&["x-gzip"], Some(Coding::Gzip));
        check(&["deflate"], Some(Coding::Deflate));
        check(&["br"], None);
        check(&["zstd"], None);
        check(&["compress"], None);
        check(&["gzip, gzip"], None);
        check(&["gzip", "gzip"], None);
        check(&["identity, gzip"], None);
        check(&["gzip;q=1"], None);
    }
}
