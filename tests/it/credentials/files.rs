//! Credential files: each form means to us what it means to skopeo, and what `login` writes is read.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::support::canary::secret;

/// An entry for these credentials.
fn entry(login: &str) -> String {
    format!(r#"{{"auth":"{}"}}"#, STANDARD.encode(login))
}

/// What skopeo makes of a file: `let in`, `refused`, or `error`.
fn by_skopeo(folder: &Path, registry: &DockerRegistry, file: &str) -> &'static str {
    let name = format!("docker://{}/team/app:1", registry.host);
    let output = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", "--authfile", file, &name])
        .current_dir(folder)
        .output()
        .expect("skopeo is there; `make install` installs it");
    let said = String::from_utf8(output.stderr).unwrap();
    let words = [("manifest unknown", "let in"), ("unauthorized", "refused")];
    words.into_iter().find(|(words, _)| said.contains(words)).map_or("error", |(_, what)| what)
}

/// The same of imagepush.
fn by_us(folder: &Path, registry: &DockerRegistry, file: &str) -> &'static str {
    let said = outcome(&mut inspect(folder, registry, &["--authfile", file]));
    match said.as_str() {
        "let in" => "let in",
        said if said.contains("wants credentials") || said.contains("does not accept") => "refused",
        _ => "error",
    }
}

#[test]
fn a_file_means_what_it_means_to_skopeo() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) =
        (entry(&login()), entry(&format!("alice:{}", secret("credentials wrong"))));
    let padded = entry(&format!("{}\0\0", login()));
    let (host, name) = (&registry.host, registry.host.split(':').next().unwrap());
    let one = |key: &str, entry: &str| format!(r#"{{"auths":{{"{key}":{entry}}}}}"#);
    let two = |first: (&str, &str), second: (&str, &str)| {
        format!(r#"{{"auths":{{"{}":{},"{}":{}}}}}"#, first.0, first.1, second.0, second.1)
    };
    let (team, app) = (format!("{host}/team"), format!("{host}/team/app"));
    let plain = format!(r#"{{"username":"{USER}","password":"{}"}}"#, password());
    let same = [
        (one(host, &right), "let in"),
        (one(host, &wrong), "refused"),
        (one(host, &padded), "let in"),
        (one(&team, &right), "let in"),
        (one(&app, &right), "let in"),
        (two((host, &wrong), (&team, &right)), "let in"),
        (two((&app, &right), (&team, &wrong)), "let in"),
        (two((&app, &wrong), (host, &right)), "refused"),
        (one(&format!("http://{host}"), &right), "let in"),
        (one(&format!("https://{host}/v1/"), &right), "let in"),
        (one(&format!("{host}/tea"), &right), "refused"),
        (one(&format!("{host}/team/"), &right), "refused"),
        (one(&format!("{host}/team/app/below"), &right), "refused"),
        (one(name, &right), "refused"),
        (one(&format!("{name}:1"), &right), "refused"),
        (one(host, "{}"), "refused"),
        ("{}".to_owned(), "refused"),
        (r#"{"auths":null}"#.to_owned(), "refused"),
        (one(host, r#"{"auth":"!"}"#), "error"),
        ("{".to_owned(), "error"),
        (String::new(), "error"),
    ];
    for (text, expected) in same {
        fs::write(folder.path().join("auth.json"), &text).unwrap();
        let found = by_us(folder.path(), &registry, "auth.json");
        let field = by_skopeo(folder.path(), &registry, "auth.json");
        assert_eq!((found, field), (expected, expected), "{text}");
    }
    // Where we differ on purpose: an empty entry hides no other one, plain fields are read, and an entry that can't be right is told of.
    let differing = [
        (two((&app, "{}"), (host, &right)), "let in", "refused"),
        (one(host, &plain), "let in", "refused"),
        (one(host, &entry("no colon")), "error", "refused"),
    ];
    for (text, ours, theirs) in differing {
        fs::write(folder.path().join("auth.json"), &text).unwrap();
        let found = by_us(folder.path(), &registry, "auth.json");
        let field = by_skopeo(folder.path(), &registry, "auth.json");
        assert_eq!((found, field), (ours, theirs), "{text}");
    }
}

/// A program with its arguments, the variables it gets, and the file that it then writes.
type LoginCase<'a> = (&'a [&'a str], &'a [(&'a str, &'a Path)], &'a str);

/// Logs in with a tool of the field, whose environment is `folder` and these variables.
fn log_in(folder: &Path, tool: &[&str], variables: &[(&str, &Path)], host: &str) {
    let mut command = Command::new(tool[0]);
    command.args(&tool[1..]).args(["--username", USER, "--password-stdin", host]);
    // No helper is on this path, or `docker login` would put the password there.
    command.env_clear().env("PATH", folder.join("bin")).env("HOME", folder);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().expect("podman and docker are there; `make install` installs them");
    child.stdin.take().unwrap().write_all(password().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_login_writes_is_found_where_it_is_written() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let places = ["bin", "run", "docker", "empty"].map(path);
    for place in &places {
        fs::create_dir(place).unwrap();
    }
    let [_, run, docker, empty] = &places;
    let named = path("named.json");
    let podman = ["/usr/bin/podman", "login", "--tls-verify=false"];
    let docker_login = [docker_program(), "login".to_owned()];
    let docker_login = docker_login.each_ref().map(String::as_str);
    let cases: [LoginCase<'_>; 5] = [
        (&podman, &[("XDG_RUNTIME_DIR", run)], "run/containers/auth.json"),
        (&podman, &[("XDG_RUNTIME_DIR", run), ("DOCKER_CONFIG", docker)], "docker/config.json"),
        (&podman, &[("REGISTRY_AUTH_FILE", &named), ("DOCKER_CONFIG", empty)], "named.json"),
        (&docker_login, &[("DOCKER_CONFIG", docker)], "docker/config.json"),
        (&docker_login, &[], ".docker/config.json"),
    ];
    for (tool, variables, written) in cases {
        log_in(folder.path(), tool, variables, &registry.host);
        let found = outcome(inspect(folder.path(), &registry, &[]).envs(variables.iter().copied()));
        assert_eq!(found, "let in", "{tool:?} {variables:?}");
        fs::remove_file(path(written)).unwrap();
        let found = outcome(inspect(folder.path(), &registry, &[]).envs(variables.iter().copied()));
        assert_ne!(found, "let in", "{tool:?} {variables:?}");
    }
}

/// Where docker is, which differs between distributions.
fn docker_program() -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|it| it.join("docker")).find(|it| it.is_file());
    found.expect("docker is there; `make install` installs it").to_str().unwrap().to_owned()
}

/// What is said, with the registry's host as `HOST` and the folder as `D`.
fn told(folder: &Path, registry: &DockerRegistry, command: &mut Command) -> String {
    let said = outcome(command).replace(&registry.host, "HOST");
    said.replace(&folder.display().to_string(), "D")
}

#[test]
fn a_refusal_names_the_places_looked_at() {
    let registry = registry();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = inspect(folder.path(), &registry, &[]);
    let found = told(folder.path(), &registry, command.env("XDG_RUNTIME_DIR", &run));
    let nothing = "error: inspecting `docker://HOST/team/app:1`: reading manifest `1` of `docker://HOST/team/app`: `HOST` wants credentials, and none were found in \
        `D/run/containers/auth.json`, which is not there; nor in \
        `D/.config/containers/auth.json`, which is not there; nor in \
        `D/.docker/config.json`, which is not there; nor in \
        `D/.dockercfg`, which is not there: the registry answered 401 Unauthorized";
    assert!(found.starts_with(nothing), "{found}");

    fs::write(
        folder.path().join("wrong.json"),
        format!(
            r#"{{"auths":{{"{}/team":{}}}}}"#,
            registry.host,
            entry(&format!("bob:{}", secret("credentials of nobody")))
        ),
    )
    .unwrap();
    let file = folder.path().join("wrong.json").display().to_string();
    let mut command = inspect(folder.path(), &registry, &["--authfile", &file]);
    let found = told(folder.path(), &registry, &mut command);
    let refused = "error: inspecting `docker://HOST/team/app:1`: reading manifest `1` of `docker://HOST/team/app`: \
        `HOST` does not accept the credentials of `bob` (`D/wrong.json`, key `HOST/team`): \
        the registry answered 401 Unauthorized";
    assert!(found.starts_with(refused), "{found}");
}
