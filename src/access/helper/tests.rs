//! Which helpers are run, with what, and what is made of what they say. They are shell scripts here; a real one is asked
//! by the integration tests.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::access::Secret;

/// Writes a program. Another process does, so that no other test's child can hold it open for writing when it is run.
fn program(path: &Path, script: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

/// Helpers in a folder that is looked into before the system's.
fn helpers(folder: &Path, variables: &[(&str, &str)]) -> Helpers {
    let path = format!("relative:{}:/usr/bin:/bin", folder.display());
    let all = variables.iter().copied().chain([("PATH", path.as_str())]);
    Helpers::new(&all.map(|(name, value)| (name.into(), value.into())).collect())
}

fn question(helper: &str, addresses: &[&str]) -> Question {
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    Question { file: "`config.json`".into(), helper: helper.into(), addresses }
}

/// Asks a helper that is this script for `r:5000`.
async fn ask(script: &str) -> Result<Result<(Credential, String), String>> {
    let folder = tempfile::tempdir().unwrap();
    program(&folder.path().join("docker-credential-x"), script);
    helpers(folder.path(), &[]).ask(&question("x", &["r:5000"])).await
}

#[tokio::test]
async fn a_helper_is_asked_on_standard_input() {
    let script = r#"read -r address; [ "$*" = get ] || exit 9
        printf '{"ServerURL":"%s","Username":"alice","Secret":"canary of %s"}' "$address" "$address""#;
    let credential = Credential::basic("alice", Secret::new("canary of r:5000"));
    let place = "`config.json`, credential helper `x`, asked for `r:5000`".to_owned();
    assert_eq!(ask(script).await.unwrap(), Ok((credential, place)));
}

#[tokio::test]
async fn an_identity_token_goes_by_its_user_name() {
    let found = ask(r#"echo '{"Username":"<token>","Secret":"canary"}'"#).await.unwrap().unwrap();
    assert_eq!(found.0, Credential::IdentityToken(Secret::new("canary")));
}

/// The message comes on standard output, with exit code 1, as the protocol has it.
#[tokio::test]
async fn a_helper_may_have_nothing() {
    let nothing = "`config.json`, whose credential helper `x` has nothing for `r:5000`".to_owned();
    for script in [
        "echo 'credentials not found in native keychain'; exit 1",
        "echo 'Credentials not found'; exit 2",
        r#"echo '{"Username":"","Secret":""}'"#,
    ] {
        assert_eq!(ask(script).await.unwrap(), Err(nothing.clone()));
    }
}

#[tokio::test]
async fn every_address_is_tried_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"read -r address; echo "$address" >>"$HOME/asked"
        [ "$address" = second ] || { echo credentials not found; exit 1; }
        echo '{"Username":"u","Secret":"canary"}'"#;
    program(&folder.path().join("docker-credential-x"), script);
    let helpers = helpers(folder.path(), &[("HOME", folder.path().to_str().unwrap())]);
    let found = helpers.ask(&question("x", &["first", "second", "third"])).await.unwrap();
    assert_eq!(found.unwrap().1, "`config.json`, credential helper `x`, asked for `second`");
    let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(asked, "first\nsecond\n");
    let found = helpers.ask(&question("x", &["a", "b"])).await.unwrap();
    let nothing = "`config.json`, whose credential helper `x` has nothing for `a` or `b`";
    assert_eq!(found.unwrap_err(), nothing);
}

#[tokio::test]
async fn a_helper_that_fails_is_named_and_its_secrets_are_not() {
    let doing = "looking up credentials in `config.json`: asking the credential helper `x`: ";
    let long = format!("it failed: {}", "y".repeat(512));
    let cases = [
        ("echo no  key ring; exit 1", "it failed: no key ring"),
        ("echo locked >&2; exit 3", "it failed: locked"),
        (r"printf 'a\033[2Jb'; exit 1", r"it failed: a\u{1b}[2Jb"),
        ("printf 'y%.0s' $(seq 600); exit 1", &long),
        ("exit 7", "it failed with exit status: 7 and said nothing"),
        (
            r#"echo '{"Secret":"canary"}'; exit 1"#,
            "it failed with exit status: 1, and what it printed is not shown",
        ),
        ("kill -9 $$", "it failed with signal: 9 (SIGKILL) and said nothing"),
        ("true", "its answer is malformed at line 1, column 0"),
        ("echo canary", "its answer is malformed at line 1, column 1"),
        (r#"echo '{"Username":"canary"}'"#, "its answer has no `Secret`"),
        (r#"echo '{"Secret":"canary"}'"#, "its answer has no `Username`"),
        ("yes canary", "its answer has more than the limit of 65536 bytes"),
        ("yes canary | head -c 70000; exit 1", "its answer has more than the limit of 65536 bytes"),
    ];
    for (script, expected) in cases {
        let error = ask(script).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{doing}{expected}"));
        assert!(!error.next_step().unwrap_or_default().contains("canary"));
    }
}

/// A daemon that a helper starts inherits its pipes.
#[tokio::test]
async fn a_process_left_behind_holds_up_nothing() {
    let script = r#"sleep 5 & echo '{"Username":"u","Secret":"s"}'"#;
    let asked = std::time::Instant::now();
    assert!(ask(script).await.unwrap().is_ok());
    assert!(asked.elapsed() < std::time::Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_helper_that_hangs_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    program(&folder.path().join("docker-credential-x"), "exec sleep 60");
    let helpers = helpers(folder.path(), &[]);
    let error = helpers.ask(&question("x", &["r"])).await.unwrap_err();
    let expected = "looking up credentials in `config.json`: asking the credential helper `x`: \
                    it did not answer within 120 seconds";
    assert_eq!((error.to_string().as_str(), error.kind()), (expected, Kind::Timeout));
}

#[tokio::test]
async fn a_helper_ends_when_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo $$ >\"$HOME/new\"; mv \"$HOME/new\" \"$HOME/pid\"; exec sleep 60";
    program(&folder.path().join("docker-credential-x"), script);
    let helpers = helpers(folder.path(), &[("HOME", folder.path().to_str().unwrap())]);
    let asking = tokio::spawn(async move { helpers.ask(&question("x", &["r"])).await });
    let pid = until(|| std::fs::read_to_string(folder.path().join("pid")).ok()).await;
    asking.abort();
    let process = Path::new("/proc").join(pid.trim());
    until(|| (!process.exists()).then_some(())).await;
}

/// Waits for what comes soon.
async fn until<T>(look: impl Fn() -> Option<T>) -> T {
    for _ in 0..1000 {
        match look() {
            Some(found) => return found,
            None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    }
    panic!("it did not come")
}

#[tokio::test]
async fn only_a_program_on_the_path_with_a_plain_name_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    let long = "x".repeat(65);
    // Each of these is run if its name is taken as it is.
    for inside in ["", "docker-credential-", "docker-credential-.."] {
        std::fs::create_dir(bin.join(inside)).unwrap();
    }
    let named = |name: &str| bin.join(format!("docker-credential-{name}"));
    let outside = folder.path().join("docker-credential-outside");
    for path in [bin.join("x"), named("x;touch mark"), named("x\n"), named(&long), outside] {
        program(&path, "touch \"$HOME/mark\"");
    }
    std::fs::write(bin.join("docker-credential-text"), "not to be run").unwrap();
    std::fs::create_dir(bin.join("docker-credential-folder")).unwrap();
    let helpers = helpers(&bin, &[("HOME", folder.path().to_str().unwrap())]);
    let no_name = "the name of a credential helper has letters, digits, `.`, `_` and `-` only";
    let cases = [
        ("../x", no_name),
        ("/../x", no_name),
        ("x;touch mark", no_name),
        ("", no_name),
        ("x\n", no_name),
        (&long, no_name),
        ("outside", "there is no program `docker-credential-outside` in `PATH`"),
        ("text", "there is no program `docker-credential-text` in `PATH`"),
        ("folder", "there is no program `docker-credential-folder` in `PATH`"),
        ("..", "there is no program `docker-credential-..` in `PATH`"),
    ];
    for (name, expected) in cases {
        let asked = helpers.ask(&question(name, &["r"])).await;
        assert!(!folder.path().join("mark").exists(), "{name:?} was run");
        let error = asked.unwrap_err().to_string();
        assert!(error.ends_with(&format!("`: {expected}")), "{error}");
    }
}

#[test]
fn relative_folders_of_the_path_are_not_looked_into() {
    let folders = |path: &str| {
        let variables = [("PATH".into(), path.into())].into();
        Helpers::new(&variables).folders
    };
    assert_eq!(folders(":.:bin:/usr/bin::/bin"), [Path::new("/usr/bin"), Path::new("/bin")]);
    assert_eq!(Helpers::new(&Variables::new()).folders, [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_helper_gets_the_variables_it_needs_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    program(&folder.path().join("docker-credential-x"), "env >\"$HOME/variables\"; exit 1");
    let home = folder.path().to_str().unwrap();
    let given = [
        ("HOME", home),
        ("AWS_PROFILE", "p"),
        ("LD_PRELOAD", "canary"),
        ("BASH_ENV", "canary"),
        ("REGISTRY_PASSWORD", "canary"),
        ("aws_profile", "canary"),
    ];
    let helpers = helpers(folder.path(), &given);
    assert_eq!(format!("{helpers:?}"), "Helpers");
    helpers.ask(&question("x", &["r"])).await.unwrap_err();
    let text = std::fs::read_to_string(folder.path().join("variables")).unwrap();
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell adds these by itself.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["AWS_PROFILE", "HOME", "PATH"]);
}
