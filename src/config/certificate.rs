//! When a certificate ends: the one field of X.509 that the relay reads itself.
//!
//! <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>: a certificate is a sequence that begins with what was signed, and that is a sequence of
//! a version in brackets, which may be missing, a serial number, an algorithm, who signed it, and its validity: two times.

use crate::time::utc_ms;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// `[0]`: the version.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate in DER ends, unix milliseconds. `None`: it has no end, or is written in another way than the standard says.
pub(super) fn ends_ms(der: &[u8]) -> Option<u64> {
    let (certificate, _) = tagged(der, SEQUENCE)?;
    let (signed, _) = tagged(certificate, SEQUENCE)?;
    let rest = tagged(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_, rest) = tagged(rest, INTEGER)?;
    let (_, rest) = tagged(rest, SEQUENCE)?;
    let (_, rest) = tagged(rest, SEQUENCE)?;
    let (validity, _) = tagged(rest, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, end, _) = element(rest)?;
    time(tag, end)
}

/// The content of an element that must have a tag, and what follows it.
fn tagged(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(tag, ..)| *tag == expected).map(|(_, content, rest)| (content, rest))
}

/// The first element: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    // A length below 128 is one byte; of a longer one the byte says how many follow.
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ`, with years from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let century = match (tag, digits.len()) {
        (UTC_TIME, 12) => 100 * if number(&digits[..2])? < 50 { 20 } else { 19 },
        (GENERALIZED_TIME, 14) => 100 * number(&digits[..2])?,
        _ => return None,
    };
    let rest = if tag == UTC_TIME { digits } else { &digits[2..] };
    let part = |at: usize| number(rest.get(2 * at..2 * at + 2)?);
    utc_ms([century + part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, part(5)?])
}

fn number(digits: &[u8]) -> Option<i16> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }

    /// As `openssl x509 -noout -enddate` says it.
    #[test]
    fn a_certificate_ends_when_openssl_says_so() {
        for (pem, expected) in [
            (include_str!("../../tests/tls/server.pem"), "2120-01-01T00:00:00.000Z"),
            (include_str!("../../tests/tls/expired.pem"), "2021-01-01T00:00:00.000Z"),
            (include_str!("../../tests/tls/authority.pem"), "2125-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(ends_ms(&der(pem)).map(crate::time::rfc3339).as_deref(), Some(expected));
        }
    }

    #[test]
    fn both_forms_of_a_time_are_read_and_nothing_else() {
        let of = |tag, text: &str| time(tag, text.as_bytes()).map(crate::time::rfc3339);
        assert_eq!(of(UTC_TIME, "491231235959Z").as_deref(), Some("2049-12-31T23:59:59.000Z"));
        assert_eq!(of(UTC_TIME, "700101000000Z").as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(of(GENERALIZED_TIME, "20500101000000Z").as_deref(), Some("2050-01-01T00:00:00.000Z"));
        assert_eq!(of(GENERALIZED_TIME, "99991231235959Z"), None, "no end at all (RFC 5280, 4.1.2.5)");
        for wrong in ["", "Z", "4912312359Z", "491231235959", "491331235959Z", "49123123595xZ", "4912312359590Z"] {
            assert_eq!(of(UTC_TIME, wrong), None, "{wrong}");
        }
        assert_eq!(of(GENERALIZED_TIME, "491231235959Z"), None);
    }

    #[test]
    fn whatever_is_cut_short_or_changed_is_read_without_a_panic() {
        let whole = der(include_str!("../../tests/tls/server.pem"));
        for at in 0..whole.len().min(400) {
            let _ = ends_ms(&whole[..at]);
            for byte in [0, 0x80, 0x84, 0xff] {
                let mut changed = whole.to_vec();
                changed[at] = byte;
                let _ = ends_ms(&changed);
            }
        }
        assert_eq!(ends_ms(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
