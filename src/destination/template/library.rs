//! All filters, tests and functions of a template, with what they do: one table for the reference, for advice and for a test.

/// A filter, a test or a function.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub name: &'static str,
    /// How it is used.
    pub example: &'static str,
    pub about: &'static str,
}

const fn entry(name: &'static str, example: &'static str, about: &'static str) -> Entry {
    Entry { name, example, about }
}

/// All filters: the relay's own first, then minijinja's.
pub const FILTERS: [Entry; 53] = [
    entry(
        "date",
        "bounced_at | date(\"%d.%m.%Y %H:%M\", \"Europe/Berlin\")",
        "A moment in a [strftime](https://docs.rs/jiff/latest/jiff/fmt/strtime/index.html#conversion-specifications) format and a time zone. It reads unix seconds, milliseconds, RFC 3339 and RFC 2822. Default: `%Y-%m-%d %H:%M` and UTC.",
    ),
    entry(
        "truncate",
        "campaign.subject | truncate(40, end=\"…\")",
        "At most so many characters, the sign of the cut among them. Default: 255 and `…`. With `killwords=false` it cuts between words.",
    ),
    entry(
        "urlencode",
        "user.email | urlencode",
        "Percent-encodes all but letters, digits, `-`, `_`, `.` and `~`. A map becomes `a=1&b=2`. In a URL, values are encoded without it.",
    ),
    entry(
        "url",
        "campaign.permalink | url",
        "An http or https address that is safe inside `<…|…>`. Nothing for anything else.",
    ),
    entry(
        "ulid",
        "relay.id | ulid",
        "An id as a [ULID](https://github.com/ulid/spec), of the same 128 bits. Nothing for anything that is no UUID.",
    ),
    entry("sha256", "user.email | lower | sha256", "The SHA-256 of a text, as hexadecimal digits."),
    entry(
        "hmac_sha256",
        "user.id | hmac_sha256(\"${KEY}\")",
        "The HMAC-SHA-256 of a text with a key, as hexadecimal digits.",
    ),
    entry(
        "mask",
        "user.email | mask",
        "`s***@example.com`. Of what is no address, the first character stays; up to three characters become `***`.",
    ),
    entry("abs", "change | abs", "A number without its sign."),
    entry("attr", "user | attr(\"first name\")", "A member by its name."),
    entry("batch", "items | batch(3)", "A list as lists of so many items."),
    entry("bool", "flag | bool", "Whether it is true: not empty, not zero, not missing."),
    entry("capitalize", "name | capitalize", "The first letter large, the others small."),
    entry("chain", "a | chain(b)", "Lists one after the other, or maps in one."),
    entry("count", "items | count", "The same as `length`."),
    entry("d", "name | d(\"–\")", "The same as `default`."),
    entry(
        "default",
        "name | default(\"–\")",
        "A value for what is missing; with `true` behind it also for what is empty, zero or null.",
    ),
    entry("dictsort", "changes | dictsort", "A map as a list of names and values, sorted."),
    entry("first", "items | first", "The first item or character."),
    entry("float", "amount | float", "A number with a fraction, from a number or a text."),
    entry(
        "format",
        "\"%.2f\" | format(event.data.total)",
        "A printf format, with values put in. `%d` takes 20, 20.00 and 2e1; 20.50 is an error.",
    ),
    entry("groupby", "items | groupby(\"kind\")", "Items with the same member together."),
    entry("indent", "text | indent(2)", "Each line but the first further to the right."),
    entry("int", "amount | int", "A whole number, from a number or a text."),
    entry("items", "changes | items", "A map as a list of names and values."),
    entry("join", "tags | join(\", \")", "A list as one text."),
    entry("last", "items | last", "The last item or character."),
    entry("length", "items | length", "How many items, members or characters."),
    entry("lines", "text | lines", "A text as a list of its lines."),
    entry("list", "changes | list", "A list of the items, characters or names of a map."),
    entry("lower", "user.email | lower", "In small letters."),
    entry("map", "items | map(attribute=\"price\")", "One member of each item, or a filter on each."),
    entry("max", "prices | max", "The largest item."),
    entry("min", "prices | min", "The smallest item."),
    entry("pprint", "changes | pprint", "A value as programmers look at it."),
    entry("reject", "tags | reject(\"eq\", \"old\")", "The items for which a test does not hold."),
    entry("rejectattr", "items | rejectattr(\"free\")", "The items for whose member a test does not hold."),
    entry("replace", "name | replace(\"_\", \" \")", "A part of a text exchanged."),
    entry("reverse", "items | reverse", "From the last to the first."),
    entry("round", "event.data.total | round(2)", "A number with so many digits behind the point."),
    entry("select", "tags | select(\"ne\", \"old\")", "The items for which a test holds."),
    entry("selectattr", "items | selectattr(\"price\", \"gt\", 10)", "The items for whose member a test holds."),
    entry("slice", "items | slice(3)", "A list as so many lists."),
    entry("sort", "items | sort(attribute=\"price\")", "Sorted; also `reverse=true` and `case_sensitive=true`."),
    entry("split", "text | split(\",\")", "A text as a list of its parts."),
    entry("string", "user.id | string", "A text."),
    entry("sum", "items | sum(attribute=\"price\")", "All numbers added."),
    entry("title", "name | title", "Each word with a large letter."),
    entry(
        "tojson",
        "event.data | tojson",
        "As JSON; `tojson(indent=2)` over several lines. Numbers keep their digits.",
    ),
    entry("trim", "name | trim", "Without white space at both ends."),
    entry("unique", "tags | unique", "Each item once."),
    entry("upper", "type | upper", "In large letters."),
    entry("zip", "a | zip(b)", "Items of several lists side by side."),
];

/// All tests, as in `{% if bounce_code is defined %}`.
pub const TESTS: [Entry; 30] = [
    entry("defined", "x is defined", "It is there."),
    entry("undefined", "x is undefined", "It is missing."),
    entry("none", "x is none", "It is null."),
    entry("boolean", "x is boolean", "It is true or false."),
    entry("number", "x is number", "It is a number."),
    entry("integer", "x is integer", "It is a number without a point and an exponent; also `int`."),
    entry("float", "x is float", "It is any other number."),
    entry("string", "x is string", "It is a text."),
    entry("sequence", "x is sequence", "It is a list."),
    entry("mapping", "x is mapping", "It is a map."),
    entry("iterable", "x is iterable", "It can be gone through."),
    entry("true", "x is true", "It is the value true."),
    entry("false", "x is false", "It is the value false."),
    entry("eq", "x is eq 1", "It is equal; a text never equals a number; also `equalto` and `==`."),
    entry("ne", "x is ne 1", "It is not equal; also `!=`."),
    entry("lt", "x is lt 1", "It is less, and a text that says a number counts as one; also `lessthan` and `<`."),
    entry("le", "x is le 1", "It is not greater; also `<=`."),
    entry("gt", "x is gt 1", "It is greater; also `greaterthan` and `>`."),
    entry("ge", "x is ge 1", "It is not less; also `>=`."),
    entry("in", "x is in [1, 2]", "It is one of them."),
    entry("odd", "x is odd", "It is a whole number that 2 does not divide."),
    entry("even", "x is even", "It is a whole number that 2 divides."),
    entry("divisibleby", "x is divisibleby 3", "It is a whole number that the other divides."),
    entry("startingwith", "x is startingwith \"a\"", "The text begins so."),
    entry("endingwith", "x is endingwith \"z\"", "The text ends so."),
    entry("lower", "x is lower", "It has no large letters."),
    entry("upper", "x is upper", "It has no small letters."),
    entry("sameas", "x is sameas y", "It is the same thing, not only equal."),
    entry("filter", "\"upper\" is filter", "There is such a filter."),
    entry("test", "\"odd\" is test", "There is such a test."),
];

pub const FUNCTIONS: [Entry; 4] = [
    entry("range", "range(3)", "The numbers 0, 1 and 2."),
    entry("dict", "dict(a=1)", "A map."),
    entry("namespace", "namespace(n=0)", "A map whose members `set` may change inside of a loop."),
    entry("debug", "debug()", "All that the template can see, for trying out."),
];

/// The names of all filters, for advice.
pub fn filters() -> impl Iterator<Item = &'static str> {
    FILTERS.iter().map(|entry| entry.name)
}

/// The names of all tests, for advice.
pub fn tests() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|entry| entry.name)
}

/// The names of all functions, for advice.
pub fn functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|entry| entry.name)
}
