//! What registries tell in `Warning` headers (distribution specification v1.1, "Warnings"): each told once, in the log, and
//! never more than a person would read. It changes nothing else.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::error::printable;
use crate::limits::{MAX_WARNED_HOSTS, MAX_WARNING, MAX_WARNINGS};

/// Warnings that have been told, by host; the host that warned first is the first.
#[derive(Default)]
pub(super) struct Warnings(Mutex<VecDeque<(String, Vec<String>)>>);

// === impl Warnings ===

impl Warnings {
    /// Tells of the warnings of an answer that have not been told yet, but for what `hide` takes out of them.
    pub(super) fn tell<'a>(
        &self,
        host: &str,
        values: impl Iterator<Item = &'a [u8]>,
        hide: impl Fn(&mut String),
    ) {
        for text in self.fresh(host, values, hide) {
            tracing::warn!(host, "the registry warns: {text}");
        }
    }

    fn fresh<'a>(
        &self,
        host: &str,
        values: impl Iterator<Item = &'a [u8]>,
        hide: impl Fn(&mut String),
    ) -> Vec<String> {
        let texts = values.take(MAX_WARNINGS).filter_map(|value| text(value, &hide));
        let mut texts = texts.peekable();
        if texts.peek().is_none() {
            return vec![];
        }
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told_by(&mut hosts, host);
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

/// What has been told of a host. A new one takes the place of the oldest, of which everything may be told again.
fn told_by<'a>(hosts: &'a mut VecDeque<(String, Vec<String>)>, host: &str) -> &'a mut Vec<String> {
    let known = hosts.iter().position(|(other, _)| other == host);
    let at = known.unwrap_or_else(|| {
        if hosts.len() >= MAX_WARNED_HOSTS {
            hosts.pop_front();
        }
        hosts.push_back((host.to_owned(), vec![]));
        hosts.len() - 1
    });
    &mut hosts[at].1
}

/// The text of `299 - "text"`, fit to be shown; other forms are none of the specification's.
fn text(value: &[u8], hide: impl Fn(&mut String)) -> Option<String> {
    if value.len() > MAX_WARNING {
        return None;
    }
    let quoted = std::str::from_utf8(value).ok()?.trim().strip_prefix("299 - \"")?;
    let quoted = quoted.split("\" \"").next()?;
    let text = quoted.strip_suffix('"').unwrap_or(quoted).replace("\\\"", "\"");
    let mut text = text.replace("\\\\", "\\");
    // Before it is made fit to be shown, which changes how a secret is written.
    hide(&mut text);
    let text = printable(text.trim());
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
            assert_eq!(text(value.as_bytes(), |_| {}).as_deref(), shown, "{value}");
        }
        assert_eq!(text(b"299 - \"\xff\"", |_| {}), None);
        let hide = |words: &mut String| *words = words.replace("\"\u{1b}", "[hidden]");
        assert_eq!(text(b"299 - \"a\\\"\x1bb\"", hide).as_deref(), Some("a[hidden]b"));
    }

    #[test]
    fn a_new_host_takes_the_place_of_the_oldest() {
        let warnings = Warnings::default();
        let tell = |n: usize| {
            let values = [b"299 - \"moving\"".as_slice()];
            warnings.fresh(&format!("r{n}.test"), values.into_iter(), |_| {}).len()
        };
        assert!((0..=MAX_WARNED_HOSTS).all(|n| tell(n) == 1));
        assert_eq!(warnings.0.lock().unwrap().len(), MAX_WARNED_HOSTS);
        assert_eq!([tell(MAX_WARNED_HOSTS), tell(1), tell(0)], [0, 0, 1]);
    }

    #[test]
    fn each_is_told_once_and_not_too_many() {
        let warnings = Warnings::default();
        let tell = |host: &str, texts: &[String]| {
            let values: Vec<String> =
                texts.iter().map(|text| format!("299 - \"{text}\"")).collect();
            warnings.fresh(host, values.iter().map(String::as_bytes), |_| {})
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
