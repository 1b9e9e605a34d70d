//! What others on the machine can see of a running push: its arguments and its environment.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::run::program;
use crate::support::canary::Canary;
use crate::support::images;
use crate::support::registry::{Act, Login, Registry, Rule};

/// What the system shows of a process.
pub(super) fn shown(pid: u32) -> [(&'static str, Vec<u8>); 2] {
    ["cmdline", "environ"].map(|name| (name, fs::read(format!("/proc/{pid}/{name}")).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_in_arguments_or_environment() {
    let password = Canary::token();
    let login = format!("alice:{}", password.text());
    let (stdin, file, flag) =
        (["--creds-stdin", "-q"], ["--authfile", "auth.json"], ["--creds", &login]);
    for (flags, hidden) in [(stdin, true), (file, true), (flag, false)] {
        let registry = Registry::start().await;
        registry.set_login(Login::bearer("alice", password.text()));
        // It has logged in, and waits.
        registry.add_rule(Rule::each("HEAD", "/manifests/", Act::Stall).nth(2));
        let folder = tempfile::tempdir().unwrap();
        images::image(1).write_layout(&folder.path().join("a"), Some("1"));
        let auth = json!({"auths": {&registry.host: {"auth": STANDARD.encode(&login)}}});
        fs::write(folder.path().join("auth.json"), auth.to_string()).unwrap();
        let name = format!("docker://{}/app:1", registry.host);
        let arguments = ["push", "--tls-verify=false", "oci:a:1", &name];
        let mut push = program(folder.path(), &[&arguments[..], &flags].concat());
        let mut push = push.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        writeln!(push.stdin.take().unwrap(), "{login}").unwrap();
        registry.received("GET /token 200").await;
        let found = shown(push.id());
        push.kill().unwrap();
        push.wait().unwrap();
        assert!(String::from_utf8_lossy(&found[0].1).contains("--tls-verify=false"));
        for (name, text) in found {
            if hidden {
                password.is_not_in(name, text);
            } else if name == "cmdline" {
                // Where a person puts it among the arguments, it is to be seen: the program says so.
                assert!(String::from_utf8_lossy(&text).contains(password.text()));
            }
        }
    }
}
