//! What registries tell in `Warning` headers (distribution specification v1.1, "Warnings"): each told once, in the log, and
//! never more than a person would read. It changes nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::error::printable;
use crate::limits::{MAX_WARNED_HOSTS, MAX_WARNING, MAX_WARNINGS};

/// Warnings that have been told, by host.
#[derive(Default)]
pub(super) struct Warnings(Mutex<HashMap<String, Vec<String>>>);

// === impl Warnings ===

impl Warnings {
    /// Tells of the warnings of an answer that have not been told yet.
    pub(super) fn tell<'a>(&self, host: &str, values: impl Iterator<Item = &'a [u8]>) {
        for text in self.fresh(host, values) {
            tracing::warn!(host, "the registry warns: {text}");
        }
    }

    fn fresh<'a>(&self, host: &str, values: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        let mut texts = values.take(MAX_WARNINGS).filter_map(text).peekable();
        if texts.peek().is_none() {
            return vec![];
        }
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_WARNED_HOSTS && !hosts.contains_key(host) {
            return vec![];
        }
        let told = hosts.entry(host.to_owned()).or_default();
        let mut fresh = vec![];
        for text in texts {
            if told.len() < MAX_WARNINGS && !told.contains(&text) {
                told.push(text.clone());
                fresh.push(text);
            }
        }
        fresh
    }
}

/// The text of `299 - "text"`, fit to be shown; other forms are none of the specification's.
fn text(value: &[u8]) -> Option<String> {
    if value.len() > MAX_WARNING {
        return None;
    }
    let quoted = std::str::from_utf8(value).ok()?.trim().strip_prefix("299 - \"")?;
    let quoted = quoted.split("\" \"").next()?;
    let text = quoted.strip_suffix('"').unwrap_or(quoted).replace("\\\"", "\"");
    let text = printable(text.replace("\\\\", "\\").trim());
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_specifications_form_is_read() {
        let long = format!("299 - \"{}\"", "x".repeat(MAX_WARNING));
        for (value, shown) in [
            (r#"299 - "moving away""#, Some("moving away")),
            (r#"299 - "say \"hello\" \\ bye""#, Some(r#"say "hello" \ bye"#)),
            ("299 - \"a\u{1b}[31m\tb\u{202e}\"", Some("a\\u{1b}[31m\\tb\\u{202e}")),
            (r#"299 - "old" "Sun, 22 Nov 2026 08:00:00 GMT""#, Some("old")),
            (r#"299 - """#, None),
            (r#"199 - "other""#, None),
            (r#"299 host "other""#, None),
            ("\u{fe}", None),
            (&long, None),
        ] {
            assert_eq!(text(value.as_bytes()).as_deref(), shown, "{value}");
        }
        assert_eq!(text(b"299 - \"\xff\""), None);
    }

    #[test]
    fn each_is_told_once_and_not_too_many() {
        let warnings = Warnings::default();
        let tell = |host: &str, texts: &[String]| {
            let values: Vec<String> =
                texts.iter().map(|text| format!("299 - \"{text}\"")).collect();
            warnings.fresh(host, values.iter().map(String::as_bytes))
        };
        let [a, b] = ["a", "b"].map(str::to_owned);
        let both = [a.clone(), b.clone()];
        assert_eq!(tell("r.test", &vec![a.clone(); 2]), both[..1]);
        assert_eq!(tell("r.test", &both), both[1..]);
        assert_eq!(tell("other.test", &both[..1]), both[..1]);
        let thousand: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        assert_eq!(tell("loud.test", &thousand).len(), MAX_WARNINGS);
        assert_eq!(tell("loud.test", &thousand[500..]).len(), 0);
    }
}
