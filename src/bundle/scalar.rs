//! What a plain scalar of YAML means to kubectl, which reads YAML 1.1 by the rules of go-yaml version 2.
//!
//! Pure. The words and numbers that are more than text there are more than text here, and nothing else is: `yes` and `on`
//! are true, `012` is ten, `1_000` is a number; `12:30:45` and `2024-01-02` are text. A test compares this with a real API
//! server.

use serde_json::{Number, Value};

/// Words with a meaning; each in lower case, with a capital, and in capitals.
const WORDS: [(&str, Word); 12] = [
    ("y", Word::Bool(true)),
    ("yes", Word::Bool(true)),
    ("true", Word::Bool(true)),
    ("on", Word::Bool(true)),
    ("n", Word::Bool(false)),
    ("no", Word::Bool(false)),
    ("false", Word::Bool(false)),
    ("off", Word::Bool(false)),
    ("null", Word::Null),
    (".nan", Word::NoNumber),
    (".inf", Word::NoNumber),
    ("-.inf", Word::NoNumber),
];

#[derive(Clone, Copy)]
enum Word {
    Null,
    Bool(bool),
    NoNumber,
}

/// A plain scalar means a number that JSON can't write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoNumber;

/// What a plain scalar means.
pub(super) fn resolve(text: &str) -> Result<Value, NoNumber> {
    if let Some(word) = word(text) {
        return match word {
            Word::Null => Ok(Value::Null),
            Word::Bool(value) => Ok(Value::Bool(value)),
            Word::NoNumber => Err(NoNumber),
        };
    }
    let number = match text.as_bytes() {
        [b'.', ..] => joined(text).and_then(|text| float(&text)),
        [b'+' | b'-' | b'0'..=b'9', ..] => numeral(&text.replace('_', "")),
        _ => None,
    };
    Ok(number.map_or_else(|| Value::String(text.to_owned()), Value::Number))
}

/// The value of a JSON number as the API server takes it: whole numbers are whole, however they are written.
pub(super) fn whole(number: &Number) -> Number {
    match number.as_f64() {
        Some(value) if number.is_f64() => of_float(value).unwrap_or_else(|| number.clone()),
        _ => number.clone(),
    }
}

fn word(text: &str) -> Option<Word> {
    match text {
        "" | "~" => return Some(Word::Null),
        "+.inf" | "+.Inf" | "+.INF" | ".NaN" => return Some(Word::NoNumber),
        _ => {}
    }
    let same = |word: &str| {
        let letters = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or_default();
        let (marks, letters) = word.split_at(letters);
        let upper = letters.to_ascii_uppercase();
        let capital = format!("{}{}", &upper[..1], &letters[1..]);
        text.strip_prefix(marks).is_some_and(|rest| [letters, &capital, &upper].contains(&rest))
    };
    // `.Nan` is text: not a number has capitals of its own.
    WORDS.iter().find(|(word, _)| same(word) && text != ".Nan").map(|(_, word)| *word)
}

/// A number without the underscores between its digits; there they have to be.
fn joined(text: &str) -> Option<String> {
    let digits = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().last()];
        ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_digit()))
    };
    let parts: Vec<&str> = text.split('_').collect();
    let (first, rest) = parts.split_first()?;
    let joins = rest.is_empty()
        || (first.ends_with(|c: char| c.is_ascii_digit()) && rest.iter().all(|it| digits(it)));
    joins.then(|| parts.concat())
}

/// A number that starts with a sign or a digit.
fn numeral(text: &str) -> Option<Number> {
    integer(text).or_else(|| is_float(text).then(|| float(text)).flatten())
}

/// A whole number with a sign, in the base that its prefix says; a leading zero says eight.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let signed = digits.len() < text.len();
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // Rust takes a second sign, which is none here.
    let value = digits.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(digits)?;
    let value = u64::from_str_radix(value, base).ok()?;
    match i64::try_from(if negative { -i128::from(value) } else { i128::from(value) }) {
        Ok(value) => Some(value.into()),
        Err(_) if signed => None,
        Err(_) => Some(value.into()),
    }
}

/// Whether this is a decimal number with a point or an exponent, or one too long for a whole number.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let mantissa = match before {
        "" => mantissa.contains('.') && digits(after),
        before => digits(before) && (after.is_empty() || digits(after)),
    };
    mantissa
        && exponent
            .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

fn float(text: &str) -> Option<Number> {
    of_float(is_float(text).then(|| text.parse::<f64>().ok())??)
}

/// A whole value is written without a point in JSON, and so is a whole number to the API server.
fn of_float(value: f64) -> Option<Number> {
    // Written out it has no point if it is whole; zero may have a sign, which a whole number has not.
    match value.to_string().parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => Number::from_f64(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_mean_what_kubectl_takes_them_for() {
        for text in ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"] {
            assert_eq!(resolve(text), Ok(json!(true)), "{text}");
        }
        for text in ["n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"] {
            assert_eq!(resolve(text), Ok(json!(false)), "{text}");
        }
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolve(text), Ok(json!(null)), "{text}");
        }
        for text in [".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "-.inf", "-.Inf"] {
            assert_eq!(resolve(text), Err(NoNumber), "{text}");
        }
        for text in ["yEs", "oN", "tRUE", "nULL", ".Nan", ".iNF", "yess", "none", "-.nan", "nan"] {
            assert_eq!(resolve(text), Ok(json!(text)), "{text}");
        }
    }

    #[test]
    fn numbers_are_those_of_yaml_1_1() {
        let cases = [
            ("0", json!(0)),
            ("12", json!(12)),
            ("+12", json!(12)),
            ("-12", json!(-12)),
            ("012", json!(10)),
            ("-012", json!(-10)),
            ("08", json!(8)),
            ("0o14", json!(12)),
            ("0x1F", json!(31)),
            ("-0x1f", json!(-31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("1_", json!(1)),
            ("1e3", json!(1000)),
            ("1E+3", json!(1000)),
            ("1e-3", json!(0.001)),
            ("1.", json!(1)),
            ("1.50", json!(1.5)),
            (".5", json!(0.5)),
            (".1_0", json!(0.1)),
            ("-.5", json!(-0.5)),
            ("-0", json!(0)),
            ("-0.0", json!(0)),
            ("9223372036854775807", json!(i64::MAX)),
            ("9223372036854775808", json!(9_223_372_036_854_775_808u64)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "12:30:45",
            "2024-01-02",
            "2024-01-02T03:04:05Z",
            "0b12",
            "0o8",
            "0xg",
            "1e400",
            "1.2.3",
            "-",
            "+",
            ".",
            "..",
            "_1",
            "1e",
            "e3",
            "--1",
            "+-1",
            "0x",
            "1k",
            ".1_",
            ".1__0",
            "._1",
            ".1_e5",
            "=",
            "<<",
            "-+1",
            "1e3e",
            "12e+-3",
        ] {
            assert_eq!(resolve(text), Ok(json!(text)), "{text}");
        }
    }
}
