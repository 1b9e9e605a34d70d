//! What is asked at a terminal, a real one that `script` makes, and what is taken from standard input instead.

use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Runs the program at a terminal and then says how the terminal is. Types each answer when its question stands there.
/// Returns the exit code and all that the terminal showed.
fn at_terminal(command: &Command, dialogue: &[(&str, &str)]) -> (i32, String) {
    doing_at_terminal(command, dialogue, |keyboard, answer| {
        keyboard.write_all(answer.as_bytes()).unwrap();
    })
}

/// The same, where something else may be done at a question.
fn doing_at_terminal<T>(
    command: &Command,
    dialogue: &[(&str, T)],
    act: impl Fn(&mut ChildStdin, &T),
) -> (i32, String) {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let line = format!(
        "{}; code=$?; stty -a | grep -o -e '-*echo ' -e '-*icanon '; exit $code",
        words.join(" ")
    );
    // Whatever goes wrong, it ends.
    let mut script = Command::new("timeout");
    script.args(["30", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
    script.current_dir(command.get_current_dir().unwrap()).env("SHELL", "/bin/sh");
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().expect("script is there; `make install` installs it");
    let (mut keyboard, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut shown = Vec::new();
    for (question, answer) in dialogue {
        while !String::from_utf8_lossy(&shown).ends_with(question) {
            let mut byte = [0];
            assert_eq!(screen.read(&mut byte).unwrap(), 1, "`{question}` never came: {shown:?}");
            shown.extend(byte);
        }
        act(&mut keyboard, answer);
    }
    screen.read_to_end(&mut shown).unwrap();
    let code = script.wait().unwrap().code().unwrap();
    (code, String::from_utf8(shown).unwrap().replace("\r\n", "\n"))
}

/// What `--creds` says, the questions with their answers, and what the terminal shows of them.
type AskingCase<'a> = (&'a str, &'a [(&'a str, &'a str)], String);

/// The terminal shows again what is typed.
const RESTORED: &str = "icanon \necho \n";

#[test]
fn what_is_missing_is_asked_for_and_a_password_does_not_show() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let host = &registry.host;
    let (user, password) =
        (format!("user for {host}: "), format!("password of {USER} for {host}: "));
    let (name, secret) = (format!("{USER}\n"), format!("oops\u{15}{}x\u{7f}\n", super::password()));
    let hidden = format!("{password}\n");
    let seen = format!("{user}{USER}\n");
    let absent = format!(
        "error: inspecting `docker://{host}/team/app:1`: reading manifest `1` of `docker://{host}/team/app`: \
         the registry answered 404 Not Found (MANIFEST_UNKNOWN: manifest unknown)\n"
    );
    let cases: [AskingCase<'_>; 4] = [
        (USER, &[(&password, &secret)], hidden.clone()),
        (&format!("{USER}:"), &[(&password, &secret)], hidden.clone()),
        ("", &[(&user, &name), (&password, &secret)], format!("{seen}{hidden}")),
        (":", &[(&user, &name), (&password, &secret)], format!("{seen}{hidden}")),
    ];
    for (creds, dialogue, asked) in cases {
        let command = inspect(folder.path(), &registry, &["--creds", creds]);
        let (code, shown) = at_terminal(&command, dialogue);
        canary::none_is_in("the terminal", &shown, &[]);
        assert!(shown.contains(&format!("{asked}{absent}")), "{creds:?}: {shown}");
        assert!(shown.ends_with(RESTORED), "{shown}");
        assert_eq!(code, 1);
    }
}

#[test]
fn an_interrupt_leaves_the_terminal_as_it_was() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let question = format!("password of {USER} for {}: ", registry.host);
    let command = inspect(folder.path(), &registry, &["--creds", USER]);
    let (code, shown) = at_terminal(&command, &[(&question, "half\u{3}")]);
    let expected = format!("{question}\nerror: the push was cancelled\n{RESTORED}");
    assert_eq!((code, shown), (130, expected));
    let (code, shown) = at_terminal(&command, &[(&question, "\n")]);
    let told = "error: no password was given\nhint: ";
    assert!(shown.starts_with(&format!("{question}\n{told}")), "{shown}");
    assert!(code == 2 && shown.ends_with(RESTORED), "{code} {shown}");
}

/// What happens at a question.
#[derive(Clone, Copy)]
enum Deed {
    Signal(Signal),
    Type(&'static str),
}

/// Runs the program at a terminal, with SIGHUP treated so (see `env(1)`).
fn disturbed_at_terminal(
    command: &Command,
    hang_up: &str,
    dialogue: &[(&str, Deed)],
) -> (i32, String) {
    let folder = command.get_current_dir().unwrap();
    let mut noted = Command::new("sh");
    noted.args(["-c", "echo $$ > pid; exec \"$@\"", "sh", "env", hang_up]).current_dir(folder);
    noted.arg(command.get_program()).args(command.get_args());
    let pid = folder.join("pid");
    doing_at_terminal(&noted, dialogue, |keyboard, deed| match deed {
        Deed::Type(text) => keyboard.write_all(text.as_bytes()).unwrap(),
        Deed::Signal(signal) => {
            let pid: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
            kill_process(Pid::from_raw(pid).unwrap(), *signal).unwrap();
        }
    })
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let secret = format!("password of {USER} for {}: ", registry.host);
    let seen = format!("user for {}: ", registry.host);
    let told = "interrupted: cleaning up; a second signal ends the program at once\n";
    let tail = format!("error: the push was cancelled\n{RESTORED}");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        for (creds, question, end) in [(USER, &secret, "\n"), ("", &seen, "")] {
            let command = inspect(folder.path(), &registry, &["--creds", creds]);
            let dialogue = [(question.as_str(), Deed::Signal(signal))];
            let found = disturbed_at_terminal(&command, "--default-signal=HUP", &dialogue);
            let shown = format!("{question}{told}{end}{tail}");
            assert_eq!(found, (130, shown), "{signal:?} {creds:?}");
        }
    }
    // What `nohup` does.
    let command = inspect(folder.path(), &registry, &["--creds", USER]);
    let dialogue =
        [(secret.as_str(), Deed::Signal(Signal::HUP)), (secret.as_str(), Deed::Type("\n"))];
    let (code, shown) = disturbed_at_terminal(&command, "--ignore-signal=HUP", &dialogue);
    assert!(shown.starts_with(&format!("{secret}\nerror: no password was given\n")), "{shown}");
    assert!(code == 2 && shown.ends_with(RESTORED), "{code} {shown}");
}

/// Runs the program without a terminal, with this on standard input: exit code and what was said.
fn with_input(command: &Command, input: &str) -> (i32, String) {
    let mut detached = Command::new("setsid");
    detached.arg("--wait").arg(command.get_program()).args(command.get_args());
    detached.current_dir(command.get_current_dir().unwrap()).env_clear();
    detached.env("PATH", "/usr/bin:/bin").env("HOME", command.get_current_dir().unwrap());
    detached.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = detached.spawn().unwrap();
    // A program that reads nothing has closed it, maybe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    canary::none_is_in("what is said", &said, &[]);
    let said = if said.contains("manifest unknown") { "let in".to_owned() } else { said };
    (output.status.code().unwrap(), said)
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    for creds in [USER, "", &format!(":{}", password())] {
        let mut command = inspect(folder.path(), &registry, &[]);
        command.args(["--creds", creds]);
        let expected = "error: a user name or password is missing, and there is no terminal to ask on\n\
             hint: give all of `USER:PASSWORD` on standard input with `--creds-stdin`, or name a file with `--authfile`\n";
        let (code, said) = with_input(&command, "");
        assert!(code == 2 && said.ends_with(expected), "{creds:?}: {code} {said}");
    }
}

#[test]
fn a_login_may_come_on_standard_input() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let command = inspect(folder.path(), &registry, &["--creds-stdin"]);
    for end in ["", "\n", "\r\n", "\nmore\n"] {
        let found = with_input(&command, &format!("{}{end}", login()));
        assert_eq!(found, (1, "let in".to_owned()));
    }
    let secret = canary::secret("credentials");
    for input in [
        "",
        "\n",
        secret,
        &format!("{secret}:"),
        &format!(":{secret}"),
        &format!("\nalice:{secret}"),
    ] {
        let expected = "error: `--creds-stdin` finds no user name and password\n\
            hint: standard input has to have a line `USER:PASSWORD`\n";
        assert_eq!(with_input(&command, input), (2, expected.to_owned()), "{input:?}");
    }
    // The terminal would show it.
    let (code, shown) = at_terminal(&command, &[]);
    let expected = "error: standard input is a terminal, and would show the password\n\
        hint: give the user name alone with `--creds USER`, and the password is asked for\n";
    assert_eq!((code, shown), (2, format!("{expected}{RESTORED}")));
}

#[test]
fn each_side_has_a_line_the_source_first() {
    let (from, to) = (
        registry(),
        DockerRegistry::start(&Setup {
            login: Some(("bob", canary::secret("credentials bob"))),
            ..Setup::default()
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    crate::support::images::image(50).write_layout(&folder.path().join("a"), Some("1"));
    let (source, destination) =
        (format!("docker://{}/a:1", from.host), format!("docker://{}/b:1", to.host));
    let push = |arguments: &[&str]| {
        program(folder.path(), &[&["push", "-q", "--tls-verify=false"], arguments].concat())
    };
    let upload = push(&["oci:a:1", &source, "--creds-stdin"]);
    assert_eq!(with_input(&upload, &format!("{}\n", login())), (0, String::new()));
    let copy = push(&[&source, &destination, "--creds-stdin", "--source-creds-stdin"]);
    let (one, two) = (login(), format!("bob:{}", canary::secret("credentials bob")));
    assert_eq!(with_input(&copy, &format!("{one}\n{two}\n")), (0, String::new()));
    let (code, said) = with_input(&copy, &format!("{two}\n{one}\n"));
    assert!(code == 1 && said.contains("does not accept the credentials of `"), "{code} {said}");
}

/// It works, for those who come from other tools.
#[test]
fn a_password_among_the_arguments_is_told_of() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let login = login();
    let command = inspect(folder.path(), &registry, &["--creds", &login]);
    let (code, shown) = at_terminal(&command, &[]);
    let note = "note: others on this machine can see the password of `--creds` while this runs; \
        `--creds USER` asks for it, `--creds-stdin` and `--authfile` read it\n";
    assert!(code == 1 && shown.starts_with(note) && shown.contains("manifest unknown"), "{shown}");
}
