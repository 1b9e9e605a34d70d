//! Writes values as YAML in the one form that everybody reads alike.
//!
//! Pure. Keys are sorted, every text is quoted, no line is folded, and what can't be seen is escaped: readers of YAML 1.1, of 1.2, and this product's own get the same values from it, and the same values give the
//! same bytes.

use serde_json::{Map, Number, Value};

/// Where the first line of a mapping or a list stands.
#[derive(Clone, Copy)]
enum Start {
    /// Like the others on a line of its own.
    OwnLine,
    /// Behind a dash.
    Behind,
}

/// Writes a document, with the line that starts it. One that turns out to have more than `limit` bytes is not written to
/// its end.
pub(super) fn document(object: &Map<String, Value>, limit: usize) -> String {
    let mut text = "---\n".to_owned();
    mapping(&mut text, object, (0, Start::OwnLine), limit);
    text
}

/// Writes what follows a key or a dash, up to the end of its last line.
fn value(text: &mut String, value: &Value, indent: usize, start: Start, limit: usize) {
    match value {
        Value::Object(entries) if entries.is_empty() => text.push_str(" {}\n"),
        Value::Array(items) if items.is_empty() => text.push_str(" []\n"),
        Value::Object(entries) => {
            text.push(start.separator());
            mapping(text, entries, (indent, start), limit);
        }
        Value::Array(items) => {
            text.push(start.separator());
            sequence(text, items, (indent, start), limit);
        }
        scalar => {
            text.push(' ');
            write_scalar(text, scalar);
            text.push('\n');
        }
    }
}

fn mapping(
    text: &mut String,
    entries: &Map<String, Value>,
    (indent, mut start): (usize, Start),
    limit: usize,
) {
    // However the map keeps them.
    let mut sorted: Vec<(&String, &Value)> = entries.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    for (key, entry) in sorted {
        if text.len() > limit {
            return;
        }
        start.push_indent(text, indent);
        if is_plain(key) {
            text.push_str(key);
        } else {
            quoted(text, key);
        }
        text.push(':');
        value(text, entry, indent + 2, Start::OwnLine, limit);
    }
}

fn sequence(text: &mut String, items: &[Value], (indent, mut start): (usize, Start), limit: usize) {
    for item in items {
        if text.len() > limit {
            return;
        }
        start.push_indent(text, indent);
        text.push('-');
        value(text, item, indent + 2, Start::Behind, limit);
    }
}

// === impl Start ===

impl Start {
    fn separator(self) -> char {
        match self {
            Self::OwnLine => '\n',
            Self::Behind => ' ',
        }
    }

    /// Writes what stands before a line; all after the first have their own.
    fn push_indent(&mut self, text: &mut String, indent: usize) {
        if let Self::OwnLine = std::mem::replace(self, Self::OwnLine) {
            text.extend(std::iter::repeat_n(' ', indent));
        }
    }
}

fn write_scalar(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => quoted(text, value),
        Value::Number(value) => number(text, value),
        other => *text += &other.to_string(),
    }
}

/// A number with a point has one to every reader, and its exponent a sign.
fn number(text: &mut String, number: &Number) {
    let Some(value) = number.as_f64().filter(|_| number.is_f64()) else {
        *text += &number.to_string();
        return;
    };
    let shown =
        if (1e-5..1e15).contains(&value.abs()) { value.to_string() } else { format!("{value:e}") };
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, ""));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let exponent = match exponent {
        "" => String::new(),
        _ if exponent.starts_with('-') => format!("e{exponent}"),
        _ => format!("e+{exponent}"),
    };
    text.extend([mantissa, point, &exponent]);
}

/// Whether a key is text to every reader without quotes.
fn is_plain(key: &str) -> bool {
    let first = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let text = super::scalar::resolve(key).is_ok_and(|value| value.is_string());
    first && key.bytes().all(allowed) && text
}

fn quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(c),
            _ if is_shown(c) => text.push(c),
            _ => escaped(text, c),
        }
    }
    text.push('"');
}

/// Whether a character stands for itself. A table of our own: what a letter is depends on the year, and digests must not.
/// Blanks that can't be told apart and marks that turn the text around are none.
fn is_shown(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{feff}'
    );
    let known = matches!(
        c,
        '\u{a1}'..='\u{d7ff}' | '\u{f900}'..='\u{ffef}' | '\u{10000}'..='\u{3fffd}'
    );
    known && !hidden
}

fn escaped(text: &mut String, c: char) {
    let code = u32::from(c);
    let escape = match code {
        0..=0xff => format!("\\x{code:02x}"),
        0x100..=0xffff => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    };
    text.push_str(&escape);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_is_fixed() {
        let value = json!({
            "zeta": "yes", "alpha": {"nested": [], "empty": {}, "null": null},
            "list": [1, "1", [true, [2.5]], {"b": 1, "a": [{"c": "x"}]}, {}, []],
            "text": "line\nline\t\"quoted\" \\ \u{7}\u{85}\u{2028}\u{1f600}é",
            "on": 1e300, "no-key ": -1.5e-7, "12": 18_446_744_073_709_551_615u64,
        });
        let expected = r#"---
"12": 18446744073709551615
alpha:
  empty: {}
  nested: []
  "null": null
list:
  - 1
  - "1"
  - - true
    - - 2.5
  - a:
      - c: "x"
    b: 1
  - {}
  - []
"no-key ": -1.5e-7
"on": 1.0e+300
text: "line\nline\t\"quoted\" \\ \x07\x85\u2028😀é"
zeta: "yes"
"#;
        assert_eq!(document(value.as_object().unwrap(), usize::MAX), expected);
        // It is written no further than it takes to know that it is too long.
        let short = document(value.as_object().unwrap(), 100).len();
        assert!((101..130).contains(&short), "{short}");
    }
}
