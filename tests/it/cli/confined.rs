//! What a push for an object never reads: the credentials of the one who runs it. `apply` runs objects as the operator does.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::run::{program, shown};
use crate::support::canary::secret;
use crate::support::registry::{Act, Login, Registry, Rule};

/// Where credentials of the machine could be looked for.
const PLACES: [&str; 8] = [
    "config.json",
    "auth.json",
    ".dockercfg",
    "serviceaccount",
    "kubeconfig",
    ".kube",
    ".aws",
    "credentials",
];

/// The program in `folder`, where everything has a credential for the registry.
fn with_credentials(folder: &Path, host: &str, arguments: &[&str]) -> Command {
    let config =
        json!({"auths": {host: {"username": "user", "password": secret("cli::confined")}}})
            .to_string();
    for name in [".docker/config.json", ".config/containers/auth.json", "run/containers/auth.json"]
    {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &config).unwrap();
    }
    let mut command = program(folder, arguments);
    command
        .env("DOCKER_CONFIG", folder.join(".docker"))
        .env("REGISTRY_AUTH_FILE", folder.join("run/containers/auth.json"))
        .env("XDG_RUNTIME_DIR", folder.join("run"))
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", "1");
    command
}

/// The files that a program names to the system.
fn files_of(command: &Command, folder: &Path) -> (String, String) {
    let log = folder.join("strace.log");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-e", "trace=%file", "-o"]).arg(&log);
    traced.arg(command.get_program()).args(command.get_args());
    traced.current_dir(folder).env_clear();
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = traced.output().expect("strace must be installed: run `scripts/install-packages`");
    (shown(&output), fs::read_to_string(log).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_machine_are_not_for_objects() {
    let registry = Registry::start().await;
    registry.set_login(Login::basic("user", secret("cli::confined")));
    let folder = tempfile::tempdir().unwrap();
    let source = format!("docker://{}/app:1", registry.host);

    // They are good: a person is let in with them, and only finds no image.
    let arguments = ["push", "--retry=0", "--tls-verify=false", &source, "oci:copy:1"];
    let command = with_credentials(folder.path(), &registry.host, &arguments);
    let (told, files) = files_of(&command, folder.path());
    assert!(told.contains("404 Not Found"), "{told}");
    assert!(files.contains("run/containers/auth.json"), "{files}");
    assert!(registry.seen().iter().any(|seen| seen.authorization().is_some()));

    let object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": "web"},
        "spec": {
            "runPolicy": "Once",
            "source": {"reference": source, "tlsPolicy": "PlainHTTP"},
            "destination": {"reference": "oci:copy:1"},
        },
    });
    fs::write(folder.path().join("f.yaml"), object.to_string()).unwrap();
    let apply = with_credentials(folder.path(), &registry.host, &["apply", "-f", "f.yaml"]);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", registry.host);
    for challenge in
        ["Basic realm=\"r\"", &realm, "Negotiate", "NTLM", "AWS4-HMAC-SHA256", "Digest realm=\"r\""]
    {
        let headers = vec![("www-authenticate", challenge.to_owned())];
        registry.add_rule(Rule::each("GET", "/v2/", Act::Respond(401, headers, vec![])).nth(1));
        registry.take_log();
        let (told, files) = files_of(&apply, folder.path());
        assert!(told.starts_with("exit 1\n") && told.contains("AuthenticationFailed"), "{told}");
        let named: Vec<&str> = files
            .lines()
            .filter(|line| {
                PLACES.iter().any(|place| line.contains(place)) && !line.contains("execve")
            })
            .collect();
        assert_eq!(named, [""; 0], "{challenge}");
        let seen = registry.seen();
        assert!(
            !seen.is_empty() && seen.iter().all(|seen| seen.authorization().is_none()),
            "{seen:?}"
        );
    }
}
