//! Exact comparison of decimal numbers of any size.

use std::cmp::Ordering;

/// A decimal number, compared exactly: 9007199254740993 is greater than 9007199254740992, and 1e400 is no infinity.
#[derive(Clone, Debug)]
pub struct Decimal {
    negative: bool,
    /// Significant digits without leading and trailing zeros; empty for zero.
    digits: Vec<u8>,
    /// The power of ten of the first digit: 1 for `12`, 0 for `1`, -1 for `0.1`.
    magnitude: i64,
}

/// Exponents beyond this are taken as this. Two numbers so far out compare by their digits alone, which no sender will notice.
const EXPONENT_MAX: i64 = 1 << 40;

impl Decimal {
    /// Reads `-12.50`, `1e6` or `007`. `None` if the text is not a decimal number.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], parse_exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || mantissa.ends_with('.') {
            return None;
        }
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let leading = all.iter().take_while(|d| **d == b'0').count();
        let mut digits = all[leading..].to_vec();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let magnitude = whole.len() as i64 - 1 - leading as i64 + exponent;
        let is_zero = digits.is_empty();
        Some(Self { negative: negative && !is_zero, digits, magnitude: if is_zero { 0 } else { magnitude } })
    }

    /// The whole number that it is, if it is one and not too large.
    pub fn to_integer(&self) -> Option<i128> {
        let places =
            usize::try_from(self.magnitude).ok().filter(|places| *places < 39 && self.digits.len() <= places + 1);
        let digits = match places {
            _ if self.is_zero() => "0".to_owned(),
            Some(places) => format!("{:0<1$}", String::from_utf8_lossy(&self.digits), places + 1),
            None => return None,
        };
        digits.parse::<i128>().ok().map(|size| if self.negative { -size } else { size })
    }

    /// Whether it is zero, of either sign.
    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Some(if negative { -size } else { size })
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |d: &Decimal| match (d.digits.is_empty(), d.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let by_sign = sign(self).cmp(&sign(other));
        if by_sign != Ordering::Equal || self.digits.is_empty() {
            return by_sign;
        }
        let by_size = self.magnitude.cmp(&other.magnitude).then_with(|| self.digits.cmp(&other.digits));
        if self.negative { by_size.reverse() } else { by_size }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(a: &str, expected: Ordering, b: &str) {
        let (a, b) = (Decimal::parse(a).expect("a number"), Decimal::parse(b).expect("a number"));
        assert_eq!(a.cmp(&b), expected, "{a:?} {b:?}");
        assert_eq!(b.cmp(&a), expected.reverse(), "{b:?} {a:?}");
    }

    #[test]
    fn a_whole_number_is_found_however_it_is_written() {
        for (text, expected) in [
            ("20", Some(20)),
            ("20.00", Some(20)),
            ("2e1", Some(20)),
            ("-1.5e1", Some(-15)),
            ("0.00", Some(0)),
            ("1e-400", None),
            ("20.5", None),
            ("1e400", None),
            ("170141183460469231731687303715884105727", Some(i128::MAX)),
            ("170141183460469231731687303715884105728", None),
        ] {
            assert_eq!(Decimal::parse(text).expect("a number").to_integer(), expected, "{text}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        check("9007199254740993", Ordering::Greater, "9007199254740992");
        check("1e400", Ordering::Greater, "1e399");
        check("1e400", Ordering::Less, "1e99999999999999999999");
        check("-1e-400", Ordering::Less, "0");
        check("1.0", Ordering::Equal, "1");
        check("100", Ordering::Equal, "1e2");
        check("0.1", Ordering::Greater, "0.09");
        check("-2", Ordering::Less, "-1.5");
        check("-0", Ordering::Equal, "0.000");
        check("007", Ordering::Equal, "7");
        check("129.90", Ordering::Equal, "129.9");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", "-", "a", "1a", "1.", ".5", "1e", "1e+", "0x10", "1_000", " 1", "NaN", "--1"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_compares_as_integers_do(a: i64, b: i64) {
            let parse = |n: i64| Decimal::parse(&n.to_string()).expect("an integer");
            prop_assert_eq!(parse(a).cmp(&parse(b)), a.cmp(&b));
        }

        #[test]
        fn shifting_the_point_and_the_exponent_changes_nothing(n: i32, shift in 0usize..9) {
            let plain = Decimal::parse(&n.to_string()).expect("an integer");
            let shifted = Decimal::parse(&format!("{n}{}e-{shift}", "0".repeat(shift))).expect("a number");
            prop_assert_eq!(plain.cmp(&shifted), Ordering::Equal);
        }
    }
}
