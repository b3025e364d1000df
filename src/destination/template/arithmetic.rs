//! Filters and tests that take numbers, made fit for numbers that keep their digits.
//!
//! A missing value in a filter of numbers is missing still. A text that is no number is an error: what is wrong must not look right.

use std::cmp::Ordering;

use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, filters, functions};

use super::operands::{COMPARISONS, FACTOR, KEY, NATIVE, TEXT};
use super::shown;
use crate::destination::number::{self, Digits};

/// Gives an environment all that computes and compares.
pub fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter(NATIVE, number::native);
    environment.add_filter(FACTOR, number::factor);
    environment.add_filter(KEY, number::key);
    environment.add_filter(TEXT, printed);
    for (sign, name) in COMPARISONS {
        environment.add_filter(name, move |state: &State, one: &Value, other: &Value| {
            is_so(sign, state, one, other).map(Value::from)
        });
    }
    for (name, sign) in TESTS {
        environment.add_test(name, move |state: &State, one: &Value, other: &Value| is_so(sign, state, one, other));
    }
    let range = Value::from_function(functions::range);
    environment.add_function("range", move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let args: Vec<Value> = args.into_values().into_iter().map(number::key).collect();
        range.call(state, &args)
    });
    add_filters(environment);
    add_tests(environment);
}

/// minijinja's tests that compare, with all their names.
const TESTS: [(&str, &str); 16] = [
    ("eq", "=="),
    ("equalto", "=="),
    ("==", "=="),
    ("ne", "!="),
    ("!=", "!="),
    ("lt", "<"),
    ("lessthan", "<"),
    ("<", "<"),
    ("le", "<="),
    ("<=", "<="),
    ("gt", ">"),
    ("greaterthan", ">"),
    (">", ">"),
    ("ge", ">="),
    (">=", ">="),
    ("in", "in"),
];

fn is_so(sign: &str, state: &State, one: &Value, other: &Value) -> Result<bool, Error> {
    // A comparison of containers looks at what is in them.
    let container = if matches!(sign, "in" | "not in") { other } else { one };
    if container.as_object().is_some() {
        state.consume_fuel(container.len().unwrap_or_default() as u64)?;
    }
    let ordering = || number::compare(one, other);
    Ok(match sign {
        "==" => number::is_equal(one, other),
        "!=" => !number::is_equal(one, other),
        "<" => ordering()? == Ordering::Less,
        "<=" => ordering()? != Ordering::Greater,
        ">" => ordering()? == Ordering::Greater,
        ">=" => ordering()? != Ordering::Less,
        "in" => number::contains(other, one),
        _ => !number::contains(other, one),
    })
}

/// Adds one of minijinja's filters, with its arguments converted.
macro_rules! converted {
    ($environment:ident, $($name:ident: $convert:expr),* $(,)?) => {$(
        let filter = Value::from_function(filters::$name);
        $environment.add_filter(stringify!($name), move |state: &mut State, args: Rest<ValueOrKwargs>| {
            let mut args = args.into_values();
            let convert: fn(&mut State, &mut Vec<Value>) -> Result<Option<Value>, Error> = $convert;
            match convert(state, &mut args)? {
                Some(value) => Ok(value),
                None => filter.call(state, &args),
            }
        });
    )*};
}

fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("format", format);
    environment.add_filter("count", |state: &mut State, value: &Value| {
        state.apply_filter("length", std::slice::from_ref(value))
    });
    converted!(environment,
        round: |_, args| Ok(missing(args).or_else(|| natives(args))),
        abs: |_, args| Ok(missing(args).or_else(|| without_sign(args)).or_else(|| natives(args))),
        int: |_, args| Ok(whole(args).or_else(|| natives(args))),
        float: |_, args| Ok(natives(args)),
        batch: |_, args| Ok(natives_but_the_first(args)),
        slice: |_, args| Ok(natives_but_the_first(args)),
        sum: addends,
        join: joined,
        length: |_, args| Ok(nothing(args).or_else(|| natives(args))),
        first: |_, args| Ok(nothing(args)),
        last: |_, args| Ok(nothing(args)),
        items: |_, args| Ok(nothing(args)),
        reverse: |_, args| Ok(nothing(args)),
        upper: |_, args| Ok(nothing(args)),
        lower: |_, args| Ok(nothing(args)),
        title: |_, args| Ok(nothing(args)),
        capitalize: |_, args| Ok(nothing(args)),
        trim: |_, args| Ok(nothing(args)),
        indent: |_, args| Ok(nothing(args)),
        replace: |_, args| Ok(nothing(args)),
        string: |_, args| Ok(nothing(args)),
        sort: |_, args| Ok(items_alike(args)),
        min: |_, args| Ok(items_alike(args)),
        max: |_, args| Ok(items_alike(args)),
        unique: |_, args| Ok(items_alike(args)),
    );
}

/// `"%.2f" | format(total)`: where a number is missing, all is missing.
fn format(state: &mut State, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut args = args.into_values();
    let conversions = args.first().and_then(Value::as_str).map(conversions).unwrap_or_default();
    for (value, conversion) in args.iter_mut().skip(1).zip(conversions.into_iter().chain(std::iter::repeat('f'))) {
        if value.is_kwargs() {
            continue;
        }
        *value = match conversion {
            's' => printed(value.clone()),
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => number::key(value.clone()),
            _ => number::native(value.clone()),
        };
    }
    let formatted = Value::from_function(filters::format).call(state, &args);
    let is_missing = |value: &Value| value.is_undefined() || value.is_none();
    if formatted.is_err() && args.iter().skip(1).any(is_missing) { Ok(Value::UNDEFINED) } else { formatted }
}

/// What a printf format does with each of its values.
fn conversions(format: &str) -> Vec<char> {
    let mut conversions = Vec::new();
    let mut signs = format.chars();
    while signs.by_ref().any(|sign| sign == '%') {
        for sign in signs.by_ref() {
            match sign {
                '%' => break,
                sign if sign.is_ascii_alphabetic() && !matches!(sign, 'h' | 'l' | 'L') => {
                    conversions.push(sign);
                    break;
                }
                _ => {}
            }
        }
    }
    conversions
}

/// A value as `{{ … }}` prints it: of null nothing, and containers as JSON.
fn printed(value: Value) -> Value {
    match value.kind() {
        ValueKind::None => Value::UNDEFINED,
        ValueKind::Bool | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => Value::from(shown::compact(&value)),
        _ => value,
    }
}

/// What `join` puts together: its items as they print, of an attribute if one is named.
fn joined(state: &mut State, args: &mut Vec<Value>) -> Result<Option<Value>, Error> {
    let Some(mut list) = args.first().cloned() else { return Ok(None) };
    if list.is_none() {
        args[0] = Value::UNDEFINED;
    }
    let kwargs = args.last().filter(|value| value.is_kwargs() && value.len() == Some(1));
    let named = kwargs.and_then(|kwargs| kwargs.get_attr("attribute").ok());
    if let Some(attribute) = named.filter(|attribute| attribute.as_str().is_some()) {
        let by_attribute: Kwargs = [("attribute", attribute)].into_iter().collect();
        list = state.apply_filter("map", &[args[0].clone(), by_attribute.into()])?;
        args.pop();
    }
    let is_plain = args.len() < 3 && !args.last().is_some_and(|value| value.is_kwargs());
    if is_plain && matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable) {
        state.consume_fuel(list.len().unwrap_or_default() as u64)?;
        args[0] = Value::from(list.try_iter()?.map(printed).collect::<Vec<_>>());
    }
    Ok(None)
}

fn missing(args: &mut [Value]) -> Option<Value> {
    args.first().filter(|value| value.is_undefined() || value.is_none()).map(|_| Value::UNDEFINED)
}

/// Null is as good as missing.
fn nothing(args: &mut [Value]) -> Option<Value> {
    args.first_mut().filter(|value| value.is_none()).into_iter().for_each(|value| *value = Value::UNDEFINED);
    None
}

fn natives(args: &mut [Value]) -> Option<Value> {
    args.iter_mut().filter(|value| !value.is_kwargs()).for_each(|value| *value = number::native(value.clone()));
    None
}

fn natives_but_the_first(args: &mut [Value]) -> Option<Value> {
    args.get_mut(1..).and_then(natives)
}

fn items_alike(args: &mut [Value]) -> Option<Value> {
    if let Some(first) = args.first_mut() {
        *first = if first.is_none() { Value::UNDEFINED } else { number::alike(first.clone()) };
    }
    None
}

/// `abs` of a number with digits keeps them.
fn without_sign(args: &mut [Value]) -> Option<Value> {
    let text = args.first()?.downcast_object_ref::<Digits>()?.text();
    Some(number::of_json(text.strip_prefix('-').unwrap_or(text)))
}

/// Below the largest whole number that minijinja holds, 2^127.
const NATIVE_MAX: f64 = 1e36;

/// `int` of a number with digits: what stands before the point, however long it is.
fn whole(args: &mut [Value]) -> Option<Value> {
    let text = args.first()?.downcast_object_ref::<Digits>()?.text();
    let before = text.split('.').next().unwrap_or_default();
    if text.contains(['e', 'E']) {
        // A number that large has no digits behind its point, and is none that minijinja could hold.
        let is_large = text.parse::<f64>().is_ok_and(|number| number.abs() > NATIVE_MAX);
        return is_large.then(|| args[0].clone());
    }
    Some(match before {
        "-0" => Value::from(0),
        before => number::of_json(before),
    })
}

/// What `sum` adds: minijinja's own numbers, of an attribute if one is named.
fn addends(state: &mut State, args: &mut Vec<Value>) -> Result<Option<Value>, Error> {
    let Some(list) = args.first().cloned() else { return Ok(None) };
    if list.is_none() {
        args[0] = Value::UNDEFINED;
        return Ok(None);
    }
    let named = args.last().filter(|value| value.is_kwargs()).and_then(|kwargs| kwargs.get_attr("attribute").ok());
    let attribute = args.get(1).filter(|value| value.as_str().is_some()).cloned().or(named);
    let Some(attribute) = attribute.filter(|value| value.as_str().is_some()) else {
        if matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable) {
            args[0] = Value::from(list.try_iter()?.filter(|value| !value.is_none()).collect::<Vec<_>>());
        }
        natives(args);
        return Ok(None);
    };
    let start = args.last().filter(|value| value.is_kwargs()).and_then(|kwargs| kwargs.get_attr("start").ok());
    let start = args.get(2).filter(|value| !value.is_kwargs()).cloned().or(start).filter(|start| !start.is_undefined());
    let by_attribute: Kwargs = [("attribute", attribute)].into_iter().collect();
    let values = state.apply_filter("map", &[list, by_attribute.into()])?;
    let values: Vec<Value> = values.try_iter()?.filter(|value| !value.is_none()).map(number::native).collect();
    let start = start.map(|start| Kwargs::from_iter([("start", number::native(start))]));
    let mut without_attribute = vec![Value::from(values)];
    without_attribute.extend(start.map(Value::from));
    *args = without_attribute;
    Ok(None)
}

fn add_tests(environment: &mut Environment<'_>) {
    let is_digits = |value: &Value| value.downcast_object_ref::<Digits>().is_some();
    environment.add_test("number", move |value: &Value| value.is_number() || is_digits(value));
    let is_integer =
        |value: &Value| value.downcast_object_ref::<Digits>().map_or_else(|| value.is_integer(), Digits::is_integer);
    environment.add_test("integer", is_integer);
    environment.add_test("int", is_integer);
    environment.add_test("float", move |value: &Value| (value.is_number() || is_digits(value)) && !is_integer(value));
    let remainder = |value: &Value, by: i128| {
        let value = number::native(value.clone());
        let whole = i128::try_from(value.clone()).ok().filter(|_| value.kind() == ValueKind::Number);
        whole.filter(|_| by != 0).and_then(|whole| whole.checked_rem(by))
    };
    environment.add_test("even", move |value: &Value| remainder(value, 2) == Some(0));
    environment.add_test("odd", move |value: &Value| remainder(value, 2).is_some_and(|rest| rest != 0));
    environment.add_test("divisibleby", move |value: &Value, by: &Value| {
        i128::try_from(number::native(by.clone())).is_ok_and(|by| remainder(value, by) == Some(0))
    });
}
