//! How a registry is reached: its address, whether it speaks TLS, whether it wants to be told who asks; and each tool with
//! the settings that takes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::{peers, tools};

/// A way into a registry.
pub(super) struct Door {
    host: String,
    /// What stands before the name of each repository.
    prefix: &'static str,
    /// Directory with the authority's certificate; without one, plain HTTP is spoken.
    authority: Option<PathBuf>,
    /// Has `config.json`, and is every tool's home.
    home: TempDir,
}

// === impl Door ===

impl Door {
    /// Plain HTTP, for everybody.
    pub(super) fn plain(host: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("config.json"), r#"{"auths": {}}"#).unwrap();
        Self { host: host.to_owned(), prefix: "", authority: None, home }
    }

    /// TLS, for everybody.
    pub(super) fn tls(host: &str, authority: &Authority) -> Self {
        Self { authority: Some(authority.directory()), ..Self::plain(host) }
    }

    /// The same, where the repositories are below a path.
    pub(super) fn below(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// The same, logged in.
    pub(super) fn with_login(self, (user, password): (&str, &str)) -> Self {
        let auth = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let config = json!({"auths": {&self.host: {"auth": auth}}});
        fs::write(self.home.path().join("config.json"), config.to_string()).unwrap();
        self
    }

    /// The name of an image.
    pub(super) fn name(&self, repository: &str) -> String {
        format!("{}/{}{repository}:1", self.host, self.prefix)
    }

    /// Pushes with our program, with everything that an index holds; the digest that it prints.
    pub(super) fn push(&self, source: &str, destination: &str) -> String {
        let pushed = self.try_push(source, destination);
        let said = String::from_utf8(pushed.stderr).unwrap();
        assert!(pushed.status.success(), "{source} to {destination}: {said}");
        String::from_utf8(pushed.stdout).unwrap().trim().to_owned()
    }

    /// Pushes with our program, which may fail.
    pub(super) fn try_push(&self, source: &str, destination: &str) -> Output {
        let mut arguments = vec!["push", "--all", "--retry=0"];
        let directory = self.authority.as_ref().map(|it| it.to_str().unwrap().to_owned());
        match &directory {
            Some(directory) => arguments.extend(["--cert-dir", directory]),
            None => arguments.push("--tls-verify=false"),
        }
        arguments.extend([source, destination]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
        command.args(arguments).envs(self.environment()).output().unwrap()
    }

    /// Runs skopeo, for a command that reads from a registry.
    pub(super) fn skopeo(&self, arguments: &[&str]) -> String {
        let verify = format!("--src-tls-verify={}", self.authority.is_some());
        let command = ["--insecure-policy", arguments[0], &verify];
        self.run("skopeo", &[&command, &arguments[1..]].concat())
    }

    /// Runs crane, which tries both TLS and plain HTTP at loopback addresses.
    pub(super) fn crane(&self, arguments: &[&str]) -> String {
        self.run(peers::program("crane").to_str().unwrap(), arguments)
    }

    /// Runs regctl.
    pub(super) fn regctl(&self, arguments: &[&str]) -> String {
        let tls = if self.authority.is_some() { "enabled" } else { "disabled" };
        let host = format!("--host=reg={},tls={tls}", self.host);
        self.run(
            peers::program("regctl").to_str().unwrap(),
            &[&[host.as_str()], arguments].concat(),
        )
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let environment = self.environment().map(|(name, value)| format!("{name}={value}"));
        let environment: Vec<&str> = environment.iter().map(String::as_str).collect();
        tools::run("env", &[environment.as_slice(), &[program], arguments].concat())
    }

    /// Tools trust the authority, if there is one, and find credentials where each looks for them.
    fn environment(&self) -> [(&'static str, String); 4] {
        let home = self.home.path().display();
        let authority = self.authority.as_ref();
        let trusted = authority.map(|directory| directory.join("ca.crt").display().to_string());
        [
            ("HOME", home.to_string()),
            ("DOCKER_CONFIG", home.to_string()),
            ("REGISTRY_AUTH_FILE", format!("{home}/config.json")),
            ("SSL_CERT_FILE", trusted.unwrap_or_default()),
        ]
    }
}
