//! Numbers of an event inside templates: they compute as numbers, and print the digits that were sent.
//!
//! minijinja's own numbers print what a float prints: of `20.50` the zero is gone, and of forty digits most. A number whose text
//! its own would not print is [`Digits`] here: an object that prints, compares and tests as the number that it is, exactly. minijinja's
//! operators do not take objects, so `operands` has each operand converted by [`native`], and a comparison made by [`compare`].

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::cut::cut;
use crate::event::{Decimal, Json};

/// A number with the text that it was sent as.
pub struct Digits {
    text: String,
    decimal: Decimal,
    native: Value,
}

impl Digits {
    /// Of a JSON number's text.
    fn parse(text: &str) -> Option<Self> {
        let decimal = Decimal::parse(text)?;
        let integer = || text.parse::<i128>().map(Value::from).or_else(|_| text.parse::<u128>().map(Value::from)).ok();
        let native = integer().or_else(|| text.parse::<f64>().map(Value::from).ok())?;
        Some(Self { text: text.to_owned(), decimal, native })
    }

    /// The text that it was sent as.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it was written without a point and an exponent.
    pub fn is_integer(&self) -> bool {
        !self.text.contains(['.', 'e', 'E'])
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.decimal.is_zero()
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        Some(self.decimal.cmp(&other.downcast_ref::<Self>()?.decimal))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A JSON number for templates: minijinja's own where that prints the same.
pub fn of_json(text: &str) -> Value {
    own(text).or_else(|| digits(text)).unwrap_or_else(|| Value::from(text))
}

/// Whether minijinja's own numbers would lose something of this one's text.
fn own(text: &str) -> Option<Value> {
    let integer = text.parse::<i64>().map(Value::from).ok();
    let wide = || text.parse::<i128>().map(Value::from).ok();
    let float = || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from);
    let number = integer.or_else(wide).or_else(float);
    number.filter(|number| number.to_string() == text)
}

fn digits(text: &str) -> Option<Value> {
    Digits::parse(text).map(Value::from_object)
}

/// Whether some number in a list cannot be minijinja's own. Then none of that list is: things of one kind sort and compare.
pub fn has_digits(json: &Json) -> bool {
    match json {
        Json::Number(text) => own(text).is_none(),
        Json::Array(items) => items.iter().any(has_digits),
        Json::Object(members) => members.iter().any(|(_, value)| has_digits(value)),
        _ => false,
    }
}

/// A JSON number inside a list that has such numbers.
pub fn of_json_among_digits(text: &str) -> Value {
    digits(text).unwrap_or_else(|| Value::from(text))
}

/// The value to compute with: minijinja's own number for [`Digits`], in a list too; all else as it is.
pub fn native(value: Value) -> Value {
    if let Some(digits) = value.downcast_object_ref::<Digits>() {
        return digits.native.clone();
    }
    list_with(&value, |item| item.downcast_object_ref::<Digits>().map(|digits| digits.native.clone())).unwrap_or(value)
}

/// A list in which minijinja's own numbers are [`Digits`] if some are, so that they sort among each other.
pub fn alike(value: Value) -> Value {
    let is_mixed = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
        && value.try_iter().is_ok_and(|mut items| items.any(|item| item.downcast_object_ref::<Digits>().is_some()));
    let lift = |item: &Value| if item.is_number() { digits(&item.to_string()) } else { None };
    if is_mixed { list_with(&value, lift).unwrap_or(value) } else { value }
}

/// A list with some items exchanged; `None` if it is no list or none is.
fn list_with(value: &Value, exchange: impl Fn(&Value) -> Option<Value>) -> Option<Value> {
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return None;
    }
    let items: Vec<Value> = value.try_iter().ok()?.collect();
    let exchanged: Vec<Option<Value>> = items.iter().map(&exchange).collect();
    let is_same = exchanged.iter().all(Option::is_none);
    let join = |(new, old): (Option<Value>, Value)| new.unwrap_or(old);
    (!is_same).then(|| Value::from(exchanged.into_iter().zip(items).map(join).collect::<Vec<_>>()))
}

/// How two values compare, exactly where both are numbers. Against a number, a text is the number that it says; what says none has
/// no order with it.
pub fn compare(one: &Value, other: &Value) -> Result<Ordering, Error> {
    let is_number = exact(one).is_some();
    let is_other_number = exact(other).is_some();
    let side = |value: &Value, beside_a_number: bool| match (exact(value), value.as_str()) {
        (Some(number), _) => Ok(Some(number)),
        (None, _) if !beside_a_number => Ok(None),
        (None, Some(text)) => Decimal::parse(text).map(Some).ok_or_else(|| no_number(value)),
        (None, None) if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) => {
            Err(no_number(value))
        }
        (None, None) => Ok(None),
    };
    match (side(one, is_other_number)?, side(other, is_number)?) {
        (Some(one), Some(other)) => Ok(one.cmp(&other)),
        _ => Ok(native(one.clone()).cmp(&native(other.clone()))),
    }
}

fn no_number(value: &Value) -> Error {
    let message = match value.as_str() {
        Some(text) => format!("the text `{}` cannot be compared with a number", cut(text, 40)),
        None => format!("a {} cannot be compared with a number", value.kind()),
    };
    Error::new(ErrorKind::InvalidOperation, message)
}

/// An operand of `*`. A text that says a number would be repeated, and what comes out would look like a number.
pub fn factor(value: Value) -> Result<Value, Error> {
    match value.as_str().filter(|text| Decimal::parse(text.trim()).is_some()) {
        Some(text) => {
            let message = format!("`{}` is a text and no number: write `| float` behind it", cut(text, 40));
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
        None => Ok(native(value)),
    }
}

/// A key of a map or a list: a whole number, however it is written, finds what that number finds.
pub fn key(value: Value) -> Value {
    whole(&value).unwrap_or_else(|| native(value))
}

/// A whole number, however it is written: 20, 20.00 and 2e1.
pub fn whole(value: &Value) -> Option<Value> {
    exact(value)?.to_integer().map(Value::from)
}

/// Whether two values are equal, exactly where both are numbers.
pub fn is_equal(one: &Value, other: &Value) -> bool {
    match (exact(one), exact(other)) {
        (Some(one), Some(other)) => one == other,
        _ => native(one.clone()) == native(other.clone()),
    }
}

/// Whether a container has a value: a list an equal one, a text a part, a map a key.
pub fn contains(container: &Value, value: &Value) -> bool {
    match container.kind() {
        ValueKind::String => {
            let whole = container.as_str().unwrap_or_default();
            value.as_str().map_or_else(|| whole.contains(&value.to_string()), |part| whole.contains(part))
        }
        ValueKind::Map => container.get_item(&native(value.clone())).is_ok_and(|found| !found.is_undefined()),
        ValueKind::Seq | ValueKind::Iterable => {
            container.try_iter().is_ok_and(|mut items| items.any(|item| is_equal(&item, value)))
        }
        _ => false,
    }
}

/// A number as an exact one; nothing for what is none, and for the infinities of a computation.
fn exact(value: &Value) -> Option<Decimal> {
    if let Some(digits) = value.downcast_object_ref::<Digits>() {
        return Some(digits.decimal.clone());
    }
    // A comparison of minijinja's own two numbers is exact anyway.
    value.is_number().then(|| Decimal::parse(&value.to_string())).flatten()
}

#[cfg(test)]
mod tests {
    use crate::destination::template::tests::{check, failure};
    use crate::destination::template::{Escape, Template};

    /// Numbers that a float would print otherwise, and such that it would not.
    const NUMBERS: [&str; 22] = [
        "20",
        "20.5",
        "20.50",
        "20.00",
        "0.10",
        "1e2",
        "1E5",
        "1.5E+3",
        "2e-7",
        "-0",
        "-0.0",
        "0.00",
        "9223372036854775807",
        "9223372036854775808",
        "12345678901234567890",
        "-12345678901234567890",
        "340282366920938463463374607431768211456",
        "1234567890123456789012345678901234567890",
        "0.1234567890123456789012345678901234567890",
        "1e400",
        "1e-400",
        "100.0",
    ];

    #[test]
    fn every_number_prints_the_digits_that_were_sent() {
        for number in NUMBERS {
            let body = format!(r#"{{"type":"a","n":{number},"l":[{number},1],"m":{{"z":{number},"a":1}}}}"#);
            check("{{ n }}", &body, number);
            check("{{ l }} {{ m }}", &body, &format!(r#"[{number},1] {{"z":{number},"a":1}}"#));
            check("{{ n | tojson }} {{ m | tojson }}", &body, &format!(r#"{number} {{"z": {number}, "a": 1}}"#));
            check("{{ '€' ~ n }}", &body, &format!("€{number}"));
            check(
                "{{ n | string }}{{ n | default(7) }}{{ n | upper }}",
                &body,
                &format!("{number}{number}{}", number.to_uppercase()),
            );
            check("{{ [n, l[0]] | join(' ') }} {{ l | first }}", &body, &format!("{number} {number} {number}"));
            check("{% set x = n %}{{ x }}{% for x in l %}{{ x }} {% endfor %}", &body, &format!("{number}{number} 1 "));
            check("{{ n if n is number else 'no' }}{{ n is string }}", &body, &format!("{number}false"));
        }
    }

    #[test]
    fn every_number_compares_exactly() {
        let is = |test: &str, number: &str, expected: bool| {
            let body = format!(r#"{{"type":"a","n":{number}}}"#);
            check(&format!("{{{{ {test} }}}}"), &body, &expected.to_string());
            check(&format!("{{% if {test} %}}true{{% else %}}false{{% endif %}}"), &body, &expected.to_string());
        };
        is("n > 100", "20.50", false);
        is("n > 100", "1e2", false);
        is("n >= 100", "1e2", true);
        is("n > 100", "1E5", true);
        is("n == 20", "20.00", true);
        is("20 == n", "20.00", true);
        is("n != 20", "20.00", false);
        is("n == 20", "20.0000000000000000000000000000001", false);
        is("n > 20", "20.0000000000000000000000000000001", true);
        is("n == 0", "-0", true);
        is("n < 0", "-0.10", true);
        is("n > 9223372036854775807", "9223372036854775808", true);
        is("n > 1000", "1e400", true);
        is("n in [20, 30]", "20.00", true);
        is("n not in [20, 30]", "20.50", true);
        is("n is gt 10", "20.50", true);
        is("n is eq(20)", "20.00", true);
        is("n is integer", "20.00", false);
        is("n is float", "20.00", true);
        is("n + 1 > 21", "20.50", true);
        is("10 < n < 30", "20.50", true);
        is("n > 10 and n < 30", "20.50", true);
        is("not n", "0.00", true);
        is("not n", "0.10", false);
        is("n == '20.50'", "20.50", false);
        is("n == missing", "20.50", false);
        is("'0.5' in n ~ ''", "20.50", true);
    }

    #[test]
    fn a_number_that_came_as_a_text_compares_as_one_and_another_text_not_at_all() {
        let body = r#"{"type":"a","t":"20.00","big":"9007199254740993","neg":"-3","e":"1e3","n":20.00,"i":20,"w":"many","null":null,"l":[1],"m":{"t":["20"]}}"#;
        for (test, expected) in [
            ("t > 100", false),
            ("t < 100", true),
            ("100 > t", true),
            ("t >= n", true),
            ("t <= i", true),
            ("big > 9007199254740992", true),
            ("neg < 0", true),
            ("e > 999", true),
            ("t > 100 * 1", false),
            ("i + 1 > t", true),
            ("10 < t < 30", true),
            ("10 < t < 15", false),
            ("10 < m.t[0] < 30 and i > 1", true),
            ("not 10 < t < 15", true),
            ("t is gt 100", false),
            ("t is lt(100) and t > 5", true),
            ("t > '100'", true),
            ("w > 'a'", true),
            ("x > 100", false),
            ("null > 100", false),
            ("t == 20", false),
        ] {
            check(&format!("{{% if {test} %}}true{{% else %}}false{{% endif %}}"), body, &expected.to_string());
        }
        for test in [
            "w > 100",
            "100 < w",
            "w <= n",
            "n + 1 > w",
            "1 < w < 3",
            "w is gt 100",
            "l > 1",
            "t * 2",
            "'7.10' * 2",
            "2 * t",
            "t * n",
        ] {
            failure(&format!("{{{{ {test} }}}}"), body);
        }
        check("{{ t | float * 2 }} {{ '-' * 3 }} {{ w * 2 }}", body, "40.0 --- manymany");
    }

    #[test]
    fn a_whole_number_is_whole_however_it_is_written() {
        for number in ["20", "20.00", "2e1", "20.0", "0.2e2"] {
            let body = format!(r#"{{"type":"a","n":{number},"l":[1,2]}}"#);
            check("{{ '%d' | format(n) }} {{ '%05d|%x|%-4d|' | format(n, n, n) }}", &body, "20 00020|14|20  |");
            check("{{ '%s %d %% %.2f' | format(n, n, n) }}", &body, &format!("{number} 20 % 20.00"));
            check("{{ range(n) | list | length }} {{ range(1, n, 5) | list }}", &body, "20 [1,6,11,16]");
            check("{{ {20: 'small'}[n] }}{{ l[n - 19] }}", &body, "small2");
        }
        check("{{ range(1e2) | list | length }}", r#"{"type":"a"}"#, "100");
        failure("{{ '%d' | format(n) }}", r#"{"type":"a","n":20.5}"#);
        failure("{{ n | length }}", r#"{"type":"a","n":20.50}"#);
    }

    #[test]
    fn every_number_computes() {
        let body = r#"{"type":"a","n":20.50,"z":0.00,"e":1e2,"big":12345678901234567890,"neg":-20.50}"#;
        check(
            "{{ n + 1 }} {{ n * 2 }} {{ 1 - n }} {{ -n }} {{ n / 2 }} {{ n // 2 }}",
            body,
            "21.5 41.0 -19.5 -20.5 10.25 10.0",
        );
        check("{{ e + 0 }} {{ big + 1 }}", body, "100.0 12345678901234567891");
        check("{{ n | round }} {{ n | round(1) }} {{ (n or 0) | round(2) }} {{ z or 7 }}", body, "20.0 20.5 20.5 7");
        check(
            "{{ neg | abs }} {{ n | int }} {{ n | float }} {{ big | int }} {{ e | int }}",
            body,
            "20.50 20 20.5 12345678901234567890 100",
        );
        check("{{ '%.1f' | format(n) }}", body, "20.5");
        check("{{ [n, 100] | max }} {{ [n, 100] | min }} {{ [100, n, 3] | sort }}", body, "100 20.50 [3,20.50,100]");
    }

    #[test]
    fn lists_of_numbers_sort_and_add() {
        let body =
            r#"{"type":"a","p":[10.25,9.50,2.00],"i":[{"price":10.25},{"price":2.00},{"price":9.50},{"price":3}]}"#;
        check("{{ i | sort(attribute='price') | map(attribute='price') | join(' ') }}", body, "2.00 3 9.50 10.25");
        check("{{ i | sum(attribute='price') }} {{ p | sum }} {{ p | sort }}", body, "24.75 21.75 [2.00,9.50,10.25]");
        check(
            "{{ i | map(attribute='price') | sum }} {{ p[1:] | sum }} {{ p | reverse | max }}",
            body,
            "24.75 11.5 10.25",
        );
        check("{{ i | sum('price', 1) }} {{ i | sum(attribute='price', start=0.25) }}", body, "25.75 25.0");
        check(
            "{{ p | max }} {{ p | min }} {{ i | selectattr('price', 'gt', 9) | list | length }}",
            body,
            "10.25 2.00 2",
        );
        check("{{ [2.0, 2] | unique | list | length }} {{ p | map('round') | list }}", body, "1 [10.0,10.0,2.0]");
        check("{% for g, l in i | groupby('price') %}{{ g }};{% endfor %}", body, "2.00;3;9.50;10.25;");
    }

    #[test]
    fn a_missing_value_in_a_filter_of_numbers_is_nothing_and_a_text_is_an_error() {
        let body = r#"{"type":"a","null":null,"text":"abc"}"#;
        check("<{{ x.y | round(2) }}{{ null | abs }}{{ x | round | default('-') }}>", body, "<->");
        check("{{ x | sum }} {{ null | sum }} {{ x | int }}", body, "0 0 0");
        failure("{{ text | round }}", body);
        failure("{{ text | abs }}", body);
        failure("{{ text + 1 }}", body);
    }

    #[test]
    fn a_slip_is_still_told_at_its_place() {
        let source = "{{ a > b }} {{ a + b }} {{ type | uppr }}";
        let fault = Template::compile(source, Escape::None).expect_err("a slip");
        assert_eq!(fault.within.map(|range| &source[range]), Some("uppr"));
    }
}
