//! `imagepush operator` as a process: which cluster it finds, what it prints, and how it ends.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use imagepush::access::TlsPolicy;

use super::run::{program, run_in};
use crate::support::control_plane::control_plane;
use crate::support::registry::Registry;
use crate::support::{images, push};

#[test]
fn without_a_cluster_it_says_what_it_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        run_in(folder.path(), &["operator"]),
        "exit 2\n--- stdout\n--- stderr\n\
         error: no Kubernetes cluster is configured: failed to infer config: \
         in-cluster: (failed to read an incluster environment variable: environment variable not found), \
         kubeconfig: (failed to read kubeconfig from '\"[folder]/.kube/config\"': \
         No such file or directory (os error 2))\n\
         hint: run inside a cluster, or set KUBECONFIG\n"
    );
}

/// Who is named there would be who a bundle's objects are written as, beside the account that has agreed to it.
#[tokio::test]
async fn neither_kubeconfig_nor_environment_says_whom_it_acts_as() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    for (user, variable) in [
        (json!({"as": "system:admin"}), None),
        (json!({"as-groups": ["system:masters"]}), None),
        (json!({}), Some("KUBE_RS_DEBUG_IMPERSONATE_USER")),
        (json!({}), Some("KUBE_RS_DEBUG_IMPERSONATE_GROUP")),
    ] {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "a", "user": user}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let arguments = ["operator", "--apply-bundles", "--listen=none", "--leader-election=false"];
        let mut program = program(folder.path(), &arguments);
        program.env("KUBECONFIG", &kubeconfig).envs(variable.map(|name| (name, "system:masters")));
        let ended = tokio::process::Command::from(program).kill_on_drop(true).output();
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        let output = ended.unwrap_or_else(|_| panic!("it works as another: {user} {variable:?}"));
        let told = String::from_utf8(output.unwrap().stderr).unwrap();
        let said = "says to act as somebody else, and the operator acts as itself";
        assert!(told.contains(said), "{user} {variable:?}: {told}");
    }
}

/// What it prints are log lines and nothing else, so that a collector can read all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_well() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["operator", "--log-format=json", "--listen=none"];
    for kind in [Signal::INT, Signal::TERM] {
        let mut program = program(folder.path(), &arguments);
        program.env("KUBECONFIG", plane.kubeconfig());
        program.env("IMAGEPUSH_WATCH_NAMESPACE", &namespace);
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut lines = lines.map(|line| {
            serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        let watched = lines.find(|line| line["message"] == "objects are watched");
        let watched = watched.expect("it starts to watch");
        assert_eq!(watched["namespace"], namespace, "{watched}");
        kill_process(Pid::from_child(&child), kind).unwrap();
        // It stays quiet, but for log lines.
        lines.for_each(drop);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    }
}

/// The client below would wait for as long as the server asks, by itself, and nobody would hear of it.
#[test]
fn a_server_that_asks_to_wait_for_a_day_is_not_obeyed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 503 Busy\r\nRetry-After: 99999\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let cluster = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&kubeconfig, cluster.to_string()).unwrap();
    let mut program = program(folder.path(), &["operator", "--log-format=json", "--listen=none"]);
    program.env("KUBECONFIG", &kubeconfig);
    let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
    let (pid, lines) = (Pid::from_child(&child), BufReader::new(child.stderr.take().unwrap()));
    let (done, late) = mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if late.recv_timeout(Duration::from_secs(25)) == Err(mpsc::RecvTimeoutError::Timeout) {
            kill_process(pid, Signal::KILL).unwrap();
        }
    });
    let told =
        lines.lines().map(Result::unwrap).find(|line| line.contains("asks to wait for 60 s"));
    drop(done);
    guard.join().unwrap();
    assert!(told.is_some(), "it says nothing within 25 s");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The lines of the README as they stand there, but for the port of its registry and the namespace.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_imagepush_of_the_readme_becomes_ready() {
    let readme = include_str!("../../../README.md");
    let (_, object) = readme.split_once("# hello.yaml\n").unwrap();
    let (object, _) = object.split_once("```").unwrap();
    let line = readme.lines().find(|line| line.contains("imagepush operator --")).unwrap();
    let arguments = line.trim().strip_prefix("imagepush ").unwrap().trim_end_matches(" &");

    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let registry = Registry::start().await;
    let (_, port) = registry.host.split_once(':').unwrap();
    let folder = tempfile::tempdir().unwrap();
    images::image(1).write_layout(folder.path(), Some("1"));
    let from = format!("oci:{}:1", folder.path().display());
    let mut fill = push::options(&from, &format!("docker://{}/team/hello:1.0", registry.host));
    fill.destination.access.tls = TlsPolicy::PlainHttp;
    push::run(&fill).await.unwrap();
    let mut program = program(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
    program.arg("--listen=none").env("KUBECONFIG", plane.kubeconfig()).stderr(Stdio::null());
    program.env("IMAGEPUSH_WATCH_NAMESPACE", &namespace);
    let mut child = tokio::process::Command::from(program).kill_on_drop(true).spawn().unwrap();
    let object = object.replace("localhost:5000", &format!("localhost:{port}"));
    plane.kubectl_with(&["-n", &namespace, "apply", "-f", "-"], &object).await.succeeded();
    let ready = ["wait", "--for=condition=Ready", "imagepush/hello", "--timeout=60s"];
    plane.kubectl(&[&["-n", &namespace], &ready[..]].concat()).await.succeeded();
    assert!(registry.tags().contains_key("delivered/hello:1.0"));
    child.kill().await.unwrap();
}
