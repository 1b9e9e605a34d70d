//! Secrets that give themselves away: each is like no other text, and is found in any of the forms that text takes on its
//! way to an output.
//!
//! All that were made are known to the whole test run: what this process logs at `trace` is searched for them, and so are errors,
//! what the program prints, and what registries are sent that were not told a secret.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, fmt as lines};
use url::form_urlencoded;

/// A secret that stands nowhere else.
#[derive(Clone, Debug)]
pub(crate) struct Canary(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    text: String,
    /// The forms that it takes, each under its name.
    forms: Vec<(&'static str, String)>,
}

/// What any canary begins with, and in base64 a piece of that, wherever in the text it begins.
const START: &str = "canary";
const MARKS: [&str; 4] = [START, "Y2FuYXJ5", "bmFy", "YW5h"];

/// What makes one canary differ from the others of this run.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Those that some test still has.
static KNOWN: Mutex<Vec<Weak<Inner>>> = Mutex::new(vec![]);

/// Those that have a name; they stay.
static NAMED: Mutex<Vec<(&str, Canary)>> = Mutex::new(vec![]);

/// The secret of this name, for tests that need no others: the same one in all of a run, and a token as [`Canary::token`] makes it.
pub(crate) fn secret(name: &'static str) -> &'static str {
    let mut named = NAMED.lock().unwrap();
    let known = named.iter().find(|(own, _)| *own == name).map(|(_, canary)| canary.clone());
    let canary = known.unwrap_or_else(|| {
        named.push((name, Canary::token()));
        named[named.len() - 1].1.clone()
    });
    canary.text().to_owned().leak()
}

/// Fails if any secret of this run, but for those that may be known there, stands in the output of `what`.
pub(crate) fn none_is_in(what: &str, output: impl AsRef<[u8]>, but: &[String]) {
    let output = String::from_utf8_lossy(output.as_ref());
    if !MARKS.iter().any(|mark| output.contains(mark)) {
        return;
    }
    let known: Vec<_> =
        KNOWN.lock().unwrap().iter().filter_map(Weak::upgrade).map(Canary).collect();
    let others = known.iter().filter(|canary| !but.iter().any(|text| text == canary.text()));
    others.for_each(|canary| canary.is_not_in(what, output.as_bytes()));
}

/// Fails if a server was sent a secret of this run that is for others. Of a test that fails already, nothing more is told.
pub(crate) fn none_was_sent(requests: &[String], told: &[String]) {
    if !std::thread::panicking() {
        for request in requests {
            none_is_in("a foreign request", request, told);
        }
    }
}

/// Searches all that this process logs from now on, however little it matters.
fn watch_the_log() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let searched = lines::layer().with_ansi(false).with_writer(Searched);
        let searched = searched.with_filter(LevelFilter::TRACE);
        let subscriber = tracing_subscriber::registry().with(searched);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// Where logged lines are searched, and go no further.
#[derive(Clone, Copy)]
struct Searched;

impl MakeWriter<'_> for Searched {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl io::Write for Searched {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        none_is_in("the log", line, &[]);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Canary {
    /// A password, with characters that each form writes differently.
    pub(crate) fn password() -> Self {
        Self::new(format!("{}\"&\\/+ %é", unique()))
    }

    /// A token: what may stand in a header or in a URL as it is.
    pub(crate) fn token() -> Self {
        Self::new(unique())
    }

    fn new(text: String) -> Self {
        let canary = Self(Arc::new(Inner { forms: forms(&text), text }));
        let mut known = KNOWN.lock().unwrap();
        known.retain(|other| other.strong_count() > 0);
        known.push(Arc::downgrade(&canary.0));
        drop(known);
        watch_the_log();
        canary
    }

    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    /// Fails if the secret stands in the output of `what`, in any form.
    pub(crate) fn is_not_in(&self, what: &str, output: impl AsRef<[u8]>) {
        let output = String::from_utf8_lossy(output.as_ref());
        for (form, text) in &self.0.forms {
            assert!(!output.contains(text), "{what} holds a secret, {form}:\n{output}");
        }
    }

    /// Fails if the secret stands in a file below `folder`, or in a name there.
    pub(crate) fn is_not_below(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            self.is_not_in("a path", path.as_os_str().as_encoded_bytes());
            if kind.is_dir() {
                self.is_not_below(&path);
            } else if kind.is_file() {
                self.is_not_in(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
}

/// The unique part alone shows the forms that leave letters and digits as they are.
fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let unique = secret.chars().take_while(char::is_ascii_alphanumeric).collect();
    let escaped: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let json = serde_json::Value::from(secret).to_string();
    let mut forms = vec![
        ("as it is", secret.to_owned()),
        ("its unique part", unique),
        ("for a URL", escaped),
        ("for JSON", json.trim_matches('"').to_owned()),
    ];
    // Base64 of a text that holds the secret depends on where in it the secret begins; the ends differ.
    for lead in 0..3 {
        let led = [&b"xx"[..lead], secret.as_bytes()].concat();
        for text in [STANDARD_NO_PAD.encode(&led), URL_SAFE_NO_PAD.encode(&led)] {
            forms.push(("as base64", text[4..text.len() - 4].to_owned()));
        }
    }
    forms
}

fn unique() -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let seed = u64::from(std::process::id()) << 20 | number;
    format!("{START}{}", hex::encode(super::images::random(seed + 1, 12)))
}

#[test]
fn a_canary_is_found_in_every_form() {
    let canary = Canary::password();
    let text = canary.text();
    let pair = format!("alice:{text}");
    let escaped: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    for output in [
        format!("password {text}!"),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(&pair)),
        STANDARD_NO_PAD.encode(format!("al:{text}:more")),
        URL_SAFE_NO_PAD.encode(format!("a:{text}:more")),
        format!("grant_type=x&refresh_token={escaped}"),
        serde_json::json!({"password": text}).to_string(),
        format!("{text:?}"),
    ] {
        let searched = std::panic::catch_unwind(|| canary.is_not_in("it", &output));
        let found = std::panic::catch_unwind(|| none_is_in("it", &output, &[]));
        assert!(searched.is_err() && found.is_err(), "{output}");
    }
    canary.is_not_in("another secret", Canary::password().text());
}

#[test]
fn what_is_logged_is_searched_for_all_of_them() {
    let (one, other) = (secret("of a test"), Canary::password());
    assert_eq!(one, secret("of a test"));
    for text in [one, other.text()] {
        let logged = [
            std::panic::catch_unwind(|| tracing::trace!(target: "imagepush", text, "said")),
            std::panic::catch_unwind(|| tracing::trace!(target: "h2::codec", text, "said")),
        ];
        assert!(logged.iter().all(Result::is_err), "{text}");
        let printed = std::panic::catch_unwind(|| none_is_in("it", text, &[]));
        assert!(printed.is_err(), "{text}");
        none_is_in("it", text, &[text.to_owned()]);
    }
}

/// What comes before a password in the tests: after it, no text may begin that has one.
const BEFORE_PASSWORDS: [&str; 9] = [
    "::basic(\"*\", \"",
    "::bearer(\"*\", \"",
    "plain_as(\"*\", \"",
    "TokenServer::start(\"*\", \"",
    "login: Some((\"*\", \"",
    "Secret::new(\"",
    "\"password\": \"",
    "\"password\":\"",
    "--docker-password=",
];

/// Users whose names and passwords stand in one text.
const USERS: [&str; 3] = ["alice:", "bob:", "user:"];

/// The place of a password that stands in a line as it is, and so is nothing that could be searched for.
fn literal(line: &str) -> Option<&str> {
    let is_word = |rest: &str| rest.starts_with(|it: char| it.is_ascii_alphanumeric());
    let user = USERS.iter().flat_map(|user| {
        line.match_indices(user).filter(|(at, _)| {
            line[..*at].ends_with(['"', '/']) && is_word(&line[at + user.len()..])
        })
    });
    let password = BEFORE_PASSWORDS.iter().filter_map(|before| {
        let (start, end) = before.split_once('*').unwrap_or((before, ""));
        let at = line.find(start)?;
        let rest = &line[at + start.len()..];
        let rest = match end.strip_prefix('"') {
            Some(end) => rest.split_once('"')?.1.strip_prefix(end)?,
            None => rest,
        };
        is_word(rest).then_some((at, *before))
    });
    user.chain(password).map(|(at, _)| &line[at..]).next()
}

#[test]
fn no_password_of_a_test_is_like_another_text() {
    let samples = [
        ("Login::basic(\"alice\", \"wrong\")", true),
        ("plain_as(\"alice\", \"wrong\")", true),
        ("entry(\"alice:wrong\")", true),
        ("\"http://alice:pw@x\"", true),
        ("{\"username\": \"u\", \"password\": \"p\"}", true),
        ("Secret::new(\"x\")", true),
        ("\"--docker-password=x\"", true),
        ("Login::basic(\"alice\", secret(\"docker\"))", false),
        ("format!(\"alice:{}\", password)", false),
        ("Secret::new(secret(\"docker\"))", false),
    ];
    for (line, found) in samples {
        assert_eq!(literal(line).is_some(), found, "{line}");
    }
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")];
    let mut found = vec![];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_source = path.extension().is_some_and(|it| it == "rs");
            if path.is_dir() {
                folders.push(path);
            } else if is_source && !path.ends_with("support/canary.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().filter_map(literal);
                found.extend(lines.map(|line| format!("{}: {line}", path.display())));
            }
        }
    }
    assert!(found.is_empty(), "take `canary::secret` instead: {found:#?}");
}
