//! Programs that keep credentials: a real one, with what `docker login` leaves in the file; and where none may be run.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;

/// A store of `pass`, with a key of its own.
struct Store {
    folder: PathBuf,
}

impl Store {
    fn new(folder: &Path) -> Self {
        let store = Self { folder: folder.to_owned() };
        let keys = folder.join("gnupg");
        fs::create_dir(&keys).unwrap();
        let restricted = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&keys, restricted).unwrap();
        let key =
            ["--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "test@example.test"];
        store.run("gpg", &[&key[..], &["default", "default", "never"]].concat(), "");
        store.run("pass", &["init", "test@example.test"], "");
        store
    }

    /// The variables that the store is found by.
    fn variables(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
            ("GNUPGHOME", self.folder.join("gnupg")),
            ("PASSWORD_STORE_DIR", self.folder.join("store")),
            ("DOCKER_CONFIG", self.folder.clone()),
        ]
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("HOME", &self.folder).envs(self.variables());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("`make install` installs it");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?} {output:?}");
    }
}

/// gpg leaves an agent behind.
impl Drop for Store {
    fn drop(&mut self) {
        self.run("gpgconf", &["--kill", "gpg-agent"], "");
    }
}

#[test]
fn a_password_that_docker_put_into_a_store_is_found_there() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    store.run(
        "docker",
        &["login", "--username", USER, "--password-stdin", &registry.host],
        &password(),
    );
    let file = folder.path().join("config.json");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(written, json!({"auths": {&registry.host: {}}, "credsStore": "pass"}));
    let found = |variables: &[(&str, PathBuf)]| {
        outcome(inspect(folder.path(), &registry, &[]).envs(variables.iter().cloned()))
    };
    assert_eq!(found(&store.variables()), "let in");

    fs::write(&file, json!({"credHelpers": {&registry.host: "pass"}}).to_string()).unwrap();
    assert_eq!(found(&store.variables()), "let in");

    fs::write(&file, json!({"credHelpers": {&registry.host: "absent"}}).to_string()).unwrap();
    let expected = format!(
        "error: inspecting `docker://{host}/team/app:1`: reading manifest `1` of `docker://{host}/team/app`: \
         looking up credentials in `{}`: asking the credential helper `absent`: \
         there is no program `docker-credential-absent` in `PATH`",
        file.display(),
        host = registry.host
    );
    assert_eq!(found(&store.variables()).lines().next().unwrap(), expected);

    // Another registry, of which the store knows nothing.
    let other = self::registry();
    fs::write(&file, r#"{"credsStore":"pass"}"#).unwrap();
    let said = outcome(inspect(folder.path(), &other, &[]).envs(store.variables()));
    let expected = format!(
        "error: inspecting `docker://{host}/team/app:1`: reading manifest `1` of `docker://{host}/team/app`: `{host}` wants credentials, and none were found in \
         `{}`, whose credential helper `pass` has nothing for `{host}`",
        file.display(),
        host = other.host
    );
    assert!(said.starts_with(&expected), "{said}");
}

/// Puts a helper into a folder. Another process writes it: it can't be run while somebody has it open for writing.
fn helper(folder: &Path, name: &str, script: &str) {
    let mut shell = Command::new("sh");
    shell.args([OsStr::new("-c"), OsStr::new("cat >\"$0\" && chmod 755 \"$0\"")]);
    shell.arg(folder.join(format!("docker-credential-{name}"))).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

fn path_with(folder: &Path) -> String {
    format!("{}:/usr/bin:/bin", folder.display())
}

#[test]
fn a_helper_sees_no_secret_of_ours() {
    let (registry, other) = (registry(), registry());
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    helper(
        home,
        "spy",
        "{ cat /proc/$$/environ /proc/$$/cmdline; cat; } >\"$HOME/seen\"; echo credentials not found; exit 1",
    );
    fs::write(home.join("config.json"), r#"{"credsStore":"spy"}"#).unwrap();
    let (from, to) =
        (format!("docker://{}/a:1", registry.host), format!("docker://{}/b:1", other.host));
    let login = login();
    // There is something to push: a side that fails at once would end what the other is about.
    crate::support::images::image(52).write_layout(&home.join("a"), Some("1"));
    let upload = ["push", "-q", "--tls-verify=false", "--creds", &login, "oci:a:1", &from];
    assert!(program(home, &upload).status().unwrap().success());
    let flags = ["--tls-verify=false", "--authfile", "config.json", "--source-creds", &login];
    let mut command = program(home, &[&["push", "--retry", "0", &from, &to], &flags[..]].concat());
    command.env("PATH", path_with(home)).env("REGISTRY_PASSWORD", password());
    command.output().unwrap();
    let seen = String::from_utf8(fs::read(home.join("seen")).unwrap()).unwrap();
    assert!(seen.ends_with(&other.host), "{seen}");
    canary::none_is_in("what a helper sees", &seen, &[]);
}

/// A helper that knows our login, and leaves a line in `runs` each time.
fn counting_helper(folder: &Path, name: &str) {
    let answer = json!({"Username": USER, "Secret": password()});
    helper(folder, name, &format!("echo run >>\"$HOME/runs\"; echo '{answer}'"));
}

fn runs(folder: &Path) -> usize {
    fs::read_to_string(folder.join("runs")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_helper_is_run_once_a_registry_asks_and_not_before() {
    let (open, closed) = (DockerRegistry::plain(), registry());
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    counting_helper(home, "counting");
    fs::write(home.join("config.json"), r#"{"credsStore":"counting"}"#).unwrap();
    crate::support::images::image(53).write_layout(&home.join("a"), Some("1"));
    for (registry, expected) in [(&open, 0), (&closed, 1)] {
        let to = format!("docker://{}/a:1", registry.host);
        let flags = ["push", "-q", "--tls-verify=false", "--authfile", "config.json"];
        let mut command = program(home, &[&flags[..], &["oci:a:1", &to]].concat());
        let output = command.env("PATH", path_with(home)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(runs(home), expected);
    }
}

#[test]
fn helpers_that_registries_conf_lists_mean_what_they_mean_to_skopeo() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    counting_helper(home, "counting");
    helper(home, "empty", "echo credentials not found; exit 1");
    let (conf, path) = (home.join(".config/containers/registries.conf"), path_with(home));
    let file = home.join(".docker/config.json");
    let wrong = {
        let login = format!("alice:{}", crate::support::canary::secret("credentials wrong"));
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, login)
    };
    fs::create_dir(home.join(".docker")).unwrap();
    fs::create_dir_all(conf.parent().unwrap()).unwrap();
    let ours = || outcome(inspect(home, &registry, &[]).env("PATH", &path));
    let theirs = || {
        let name = format!("docker://{}/team/app:1", registry.host);
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--raw", "--tls-verify=false", &name]).env_clear();
        outcome(command.env("HOME", home).env("PATH", &path)) == "let in"
    };
    for (listed, entry, let_in) in [
        (&["counting"][..], None, true),
        (&["empty", "counting"], None, true),
        (&["containers-auth.json", "counting"], None, true),
        (&["containers-auth.json", "counting"], Some(&wrong), false),
        (&["counting", "containers-auth.json"], Some(&wrong), true),
        (&["counting"], Some(&wrong), true),
        (&["empty"], None, false),
    ] {
        fs::write(&conf, format!("credential-helpers = {}", json!(listed))).unwrap();
        let auths = entry.map_or(json!({}), |auth| json!({&registry.host: {"auth": auth}}));
        fs::write(&file, json!({"auths": auths}).to_string()).unwrap();
        assert_eq!((ours() == "let in", theirs()), (let_in, let_in), "{listed:?} {entry:?}");
    }
    let nothing = format!(
        "`{}`, whose credential helper `empty` has nothing for `{}`",
        conf.display(),
        registry.host
    );
    assert!(ours().contains(&nothing), "{}", ours());
}

/// Somebody else may have written a Secret, so it chooses no program; nor is a file of ours looked into for it.
#[test]
fn the_secret_of_an_object_runs_no_program() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    helper(home, "mark", "touch \"$HOME/mark\"; echo credentials not found; exit 1");
    let config = json!({"credHelpers": {&registry.host: "mark"}, "credsStore": "mark"}).to_string();
    fs::write(home.join("config.json"), &config).unwrap();

    let reference = format!("docker://{}/team/app:1", registry.host);
    let object = |secret: Option<&str>| {
        let mut source = json!({"reference": reference, "tlsPolicy": "PlainHTTP"});
        if let Some(name) = secret {
            source["secretRef"] = json!({"name": name});
        }
        let spec = json!({
            "runPolicy": "Once", "source": source, "destination": {"reference": "oci:b:1"}, "retry": {"limit": 0},
        });
        json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": "a"}, "spec": spec})
    };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config},
    });
    let applied = |documents: &[serde_json::Value]| {
        let documents: Vec<String> = documents.iter().map(ToString::to_string).collect();
        fs::write(home.join("f.yaml"), documents.join("\n---\n")).unwrap();
        let mut command = program(home, &["apply", "-qf", "f.yaml"]);
        outcome(command.env("PATH", path_with(home)).env("DOCKER_CONFIG", home))
    };
    let said = applied(&[secret, object(Some("s"))]);
    let expected = format!(
        "none were found in `secret s`, which leaves `{}` to the credential helper `mark` (helpers are not run)",
        registry.host
    );
    assert!(said.contains(&expected), "{said}");
    assert!(!home.join("mark").exists());

    let login = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, login());
    let own = json!({"auths": {&registry.host: {"auth": login}}, "credHelpers": {}}).to_string();
    fs::write(home.join("config.json"), own).unwrap();
    let said = applied(&[object(None)]);
    assert!(said.contains("wants credentials, and none were given"), "{said}");

    // The same program is run for the person at the command line.
    fs::write(home.join("config.json"), &config).unwrap();
    let mut command = inspect(home, &registry, &["--authfile", "config.json"]);
    outcome(command.env("PATH", path_with(home)));
    assert!(home.join("mark").exists());
}
