//! No secret gets out: not on standard output or error, not into logs however much is logged, not into a file, not to another
//! host.
//!
//! Each run has secrets that stand nowhere else, and everything that the run left is searched for them.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imagepush::access::{
    Access, AuthFile, Certificates, ClientIdentity, Credentials, Secret, TrustedCertificates,
};
use serde_json::json;
use url::form_urlencoded;

use super::run::program;
use crate::support::canary::{self, Canary};
use crate::support::images;
use crate::support::registry::{Act, Login, Registry, Rule};

/// A folder with an image as the layout `a`, and one for temporary files.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    images::image(1).write_layout(&folder.path().join("a"), Some("1"));
    fs::create_dir(folder.path().join("tmp")).unwrap();
    folder
}

/// Runs the program with everything logged, and fails if what it leaves holds one of the secrets.
fn run(
    folder: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
    secrets: &[&Canary],
) -> Output {
    let mut program = program(folder, arguments);
    program
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full")
        .env("TMPDIR", folder.join("tmp"));
    let output = program.envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
    for secret in secrets {
        secret.is_not_in("standard output", &output.stdout);
        secret.is_not_in("standard error", &output.stderr);
        secret.is_not_below(&folder.join("tmp"));
        secret.is_not_below(&folder.join("a"));
    }
    output
}

fn push_to(host: &str) -> [String; 4] {
    ["push", "oci:a:1", &format!("docker://{host}/app:1"), "--tls-verify=false"].map(str::to_owned)
}

fn pushed(folder: &Path, host: &str, more: &[&str], secrets: &[&Canary]) -> Output {
    let arguments = push_to(host);
    let arguments: Vec<&str> =
        arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    run(folder, &arguments, &[], secrets)
}

/// A credential file with this entry for a host.
fn auth_file(folder: &Path, text: &str) {
    fs::write(folder.join("auth.json"), text).unwrap();
}

fn entry(host: &str, password: &Canary) -> String {
    let auth = STANDARD.encode(format!("alice:{}", password.text()));
    json!({"auths": {host: {"auth": auth}}}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_leaves_no_trace_of_its_password_or_token() {
    let password = Canary::password();
    for login in [Login::basic("alice", password.text()), Login::bearer("alice", password.text())] {
        let registry = Registry::start().await;
        let token = Canary::token();
        registry.set_login(login.naming_tokens(token.text()));
        let folder = folder();
        auth_file(folder.path(), &entry(&registry.host, &password));
        let by_file = pushed(
            folder.path(),
            &registry.host,
            &["--authfile", "auth.json"],
            &[&password, &token],
        );
        assert!(by_file.status.success(), "{}", String::from_utf8_lossy(&by_file.stderr));
        let log = String::from_utf8_lossy(&by_file.stderr).into_owned();
        assert!(log.contains("DEBUG") && log.contains("/v2/app/manifests/1"), "{log}");
        let creds = format!("alice:{}", password.text());
        let by_flag =
            pushed(folder.path(), &registry.host, &["--creds", &creds], &[&password, &token]);
        assert!(by_flag.status.success(), "{}", String::from_utf8_lossy(&by_flag.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_fail_are_not_shown() {
    let (password, other) = (Canary::password(), Canary::password());
    for login in [Login::basic("alice", other.text()), Login::bearer("alice", other.text())] {
        let registry = Registry::start().await;
        registry.set_login(login);
        registry.may_see(password.text());
        let folder = folder();
        auth_file(folder.path(), &entry(&registry.host, &password));
        for more in
            [["--authfile", "auth.json"], ["--creds", &format!("alice:{}", password.text())]]
        {
            let output = pushed(folder.path(), &registry.host, &more, &[&password]);
            assert_eq!(output.status.code(), Some(1));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("does not accept the credentials of `alice`"), "{said}");
        }
        let identity = json!({"auths": {&registry.host: {"identitytoken": password.text()}}});
        auth_file(folder.path(), &identity.to_string());
        let output =
            pushed(folder.path(), &registry.host, &["--authfile", "auth.json"], &[&password]);
        assert_eq!(output.status.code(), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_repeats_what_it_was_sent_is_not_quoted() {
    let password = Canary::password();
    let registry = Registry::start().await;
    registry.may_see(password.text());
    let pair = STANDARD.encode(format!("alice:{}", password.text()));
    for said in
        [password.text(), &format!("Basic {pair}"), &format!("user alice:{}", password.text())]
    {
        let message = json!({"errors": [{"code": "UNAUTHORIZED", "message": said}]}).to_string();
        let challenge = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
        registry.add_rule(
            Rule::each("GET", "/manifests/", Act::Respond(401, challenge, message.into())).nth(1),
        );
        let denied = json!({"errors": [{"code": "DENIED", "message": said}]}).to_string();
        registry.add_rule(
            Rule::each("GET", "/manifests/", Act::Respond(403, vec![], denied.into())).nth(1),
        );
        let folder = folder();
        auth_file(folder.path(), &entry(&registry.host, &password));
        let name = format!("docker://{}/app:1", registry.host);
        let arguments = ["push", &name, "oci:b:1", "--tls-verify=false", "--authfile", "auth.json"];
        let output = run(folder.path(), &arguments, &[], &[&password]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("403 Forbidden"), "{text}");
    }
}

/// In a URL, in an error code of its own, and in warnings that are logged: from the registry and from its token server.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_repeats_it_in_other_places_is_not_quoted() {
    let (password, token) = (Canary::password(), Canary::token());
    let registry = Registry::start().await;
    let login = || Login::bearer("alice", password.text()).naming_tokens(token.text());
    let issued = format!("{}-alice-1", token.text());
    let folder = folder();
    auth_file(folder.path(), &entry(&registry.host, &password));
    let escaped: String = form_urlencoded::byte_serialize(password.text().as_bytes()).collect();
    let pair = STANDARD.encode(format!("alice:{}", password.text()));
    let blanks = escaped.replace('+', "%20").to_lowercase();
    for said in [&escaped, &blanks, &pair, &issued, &password.text().to_owned()] {
        let words = json!({"errors": [{"code": said, "message": format!("see /?p={said}")}]});
        let denied = |status| Act::Respond(status, vec![], words.to_string().into());
        let warning = format!("299 - \"{said} is old\"");
        let warned = || said.is_ascii().then(|| Act::Header("warning", warning.clone()));
        for (path, nth, act, told) in [
            ("/manifests/", 2, Some(denied(403)), "403 Forbidden"),
            ("/token", 1, Some(denied(403)), "does not accept the credentials of"),
            ("/manifests/", 2, warned(), "the registry warns: "),
            ("/token", 1, warned(), "the registry warns: "),
        ] {
            // The token server was not sent a token, and a header has no letters like `é`.
            let Some(act) = act.filter(|_| path != "/token" || *said != issued) else {
                continue;
            };
            registry.set_login(login());
            registry.clear_rules();
            registry.add_rule(Rule::each("GET", path, act).nth(nth));
            let name = format!("docker://{}/app:1", registry.host);
            let arguments =
                ["push", &name, "oci:b:1", "--tls-verify=false", "--authfile", "auth.json"];
            let output = run(folder.path(), &arguments, &[], &[&password, &token]);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains(told), "{path}: {text}");
            assert!(text.contains("[hidden]"), "{path}: {text}");
        }
    }
}

/// Whoever prints the options of a push, as in a log.
#[test]
fn options_of_a_push_print_without_secrets() {
    let (password, key) = (Canary::password(), Canary::token());
    let login = format!("alice:{}", password.text());
    let arguments = ["imagepush", "push", "docker://a.test/x", "docker://b.test/x"];
    let arguments = [&arguments[..], &["--creds", &login, "--source-creds", &login]].concat();
    let mut options = imagepush::cli::push_options(arguments.into_iter().map(Into::into)).unwrap();
    let text = entry("a.test", &password);
    let file = AuthFile::parse(text.as_bytes(), "secret `login`").unwrap();
    let identity = ClientIdentity { certificate: String::new(), key: Secret::new(key.text()) };
    let more = Access {
        credentials: Credentials::Text(file),
        certificates: Certificates::Pem(TrustedCertificates {
            authorities: vec![],
            identity: Some(identity),
        }),
        ..Access::default()
    };
    for _ in 0..2 {
        for printed in [format!("{options:?}"), format!("{options:#?}")] {
            assert!(printed.contains("[hidden]"), "{printed}");
            password.is_not_in("what is printed", &printed);
            key.is_not_in("what is printed", &printed);
        }
        options.source.access = more.clone();
        options.destination.access = more.clone();
    }
}

#[test]
fn a_malformed_file_is_not_quoted() {
    let secret = Canary::password();
    let text = secret.text();
    let encoded = |text: String| STANDARD.encode(text);
    for content in [
        text.to_owned(),
        format!("{{\"auths\": {text}"),
        json!({"auths": text}).to_string(),
        json!({"auths": {"localhost:1": text}}).to_string(),
        json!({"auths": {"localhost:1": {"auth": text}}}).to_string(),
        json!({"auths": {"localhost:1": {"auth": encoded(text.to_owned())}}}).to_string(),
        json!({"auths": {"localhost:1": {"auth": [text]}}}).to_string(),
        json!({"auths": {"localhost:1": {"identitytoken": {"x": text}}}}).to_string(),
        format!(
            "{{\"auths\": {{\"localhost:1\": {{\"auth\": \"{}\u{1}\"}}}}}}",
            encoded(text.to_owned())
        ),
    ] {
        let folder = folder();
        auth_file(folder.path(), &content);
        let output = pushed(
            folder.path(),
            "localhost:1",
            &["--authfile", "auth.json", "--retry=0"],
            &[&secret],
        );
        assert!(!output.status.success());
    }
}

#[test]
fn a_malformed_key_is_not_quoted() {
    let secret = Canary::token();
    let body = STANDARD.encode(secret.text());
    for key in [
        secret.text().to_owned(),
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", secret.text()),
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN {}-----\n{body}\n-----END PRIVATE KEY-----\n", secret.text()),
    ] {
        let folder = folder();
        fs::create_dir(folder.path().join("certs")).unwrap();
        fs::write(folder.path().join("certs/client.key"), &key).unwrap();
        let certificate = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        fs::write(folder.path().join("certs/client.cert"), certificate).unwrap();
        let output =
            pushed(folder.path(), "localhost:1", &["--cert-dir", "certs", "--retry=0"], &[&secret]);
        assert!(!output.status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_addresses_are_secrets_too() {
    let (password, signature, state) = (Canary::password(), Canary::token(), Canary::token());
    let (registry, storage) = (Registry::start().await, Registry::start().await);
    storage.may_see(signature.text());
    registry.may_see(state.text());
    let folder = folder();
    auth_file(folder.path(), &entry(&registry.host, &password));
    let filled = pushed(folder.path(), &registry.host, &["--authfile", "auth.json"], &[&password]);
    assert!(filled.status.success());
    registry.set_login(Login::basic("alice", password.text()));
    let there = format!("http://{}/blob?X-Amz-Signature={}", storage.host, signature.text());
    registry.add_rule(Rule::each(
        "GET",
        "/blobs/",
        Act::Respond(307, vec![("location", there)], vec![]),
    ));
    let name = format!("docker://{}/app:1", registry.host);
    let arguments =
        ["push", &name, "oci:b:1", "--tls-verify=false", "--authfile", "auth.json", "--retry=1"];
    // What the storage answers must not be quoted either: it is no registry.
    for act in [
        Act::Respond(403, vec![], format!("<Signature>{}</Signature>", signature.text()).into()),
        Act::Drop,
        Act::Respond(401, vec![("www-authenticate", "Basic realm=\"x\"".to_owned())], vec![]),
        Act::Respond(302, vec![("location", format!("ftp://x/?{}", signature.text()))], vec![]),
    ] {
        storage.add_rule(Rule::each("GET", "/blob", act).nth(1));
        storage.add_rule(Rule::each("GET", "/blob", Act::Drop).nth(1));
        let output = run(folder.path(), &arguments, &[], &[&password, &signature]);
        assert!(!output.status.success());
    }
    for seen in storage.seen() {
        password
            .is_not_in("a foreign request", format!("{seen} {} {:?}", seen.query, seen.headers));
    }
    // An upload's address is as good as a password for that upload.
    let session = format!("/v2/app/blobs/uploads/session-1?_state={}", state.text());
    registry.add_rule(Rule::each("HEAD", "/", Act::Respond(404, vec![], vec![])));
    registry.add_rule(Rule::each("POST", "/uploads/", Act::Header("location", session)));
    registry.add_rule(Rule::each("PUT", "/uploads/", Act::Drop));
    let more = ["--authfile", "auth.json", "--retry=0"];
    let output = pushed(folder.path(), &registry.host, &more, &[&password, &state]);
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_password_stays_with_the_proxy() {
    let secret = Canary::token();
    let registry = Registry::start().await;
    registry.may_see(secret.text());
    let folder = folder();
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    // A registry by way of itself: it sees what a proxy would, and must not be sent that without one.
    for (proxy, tls) in [
        (closed.to_string(), "--tls-verify=false"),
        (registry.host.clone(), "--tls-verify=false"),
        (registry.host.clone(), "--plain-http"),
    ] {
        let url = format!("http://alice:{}@{proxy}", secret.text());
        let to = format!("docker://{}/app:1", registry.host);
        let arguments = ["push", "oci:a:1", &to, tls, "--retry=0"];
        let variables = [("HTTP_PROXY", url.as_str()), ("http_proxy", &url), ("HTTPS_PROXY", &url)];
        let output = run(folder.path(), &arguments, &variables, &[&secret]);
        let seen = registry.seen();
        let came_by_it = seen.iter().any(|seen| seen.headers.contains_key("proxy-authorization"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(came_by_it || tls != "--plain-http", "{text}");
        assert!(seen.iter().all(|seen| seen.authorization().is_none()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_an_object_holds_no_secret() {
    let (password, token) = (Canary::password(), Canary::token());
    let registry = Registry::start().await;
    registry.set_login(Login::bearer("alice", password.text()).naming_tokens(token.text()));
    let stranger = Registry::start().await;
    stranger.set_login(Login::bearer("alice", canary::secret("cli::secrets")));
    stranger.may_see(password.text());
    let folder = folder();
    let secret = |host: &str, name: &str| {
        let config = entry(host, &password);
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": name}, "stringData": {".dockerconfigjson": config},
        })
    };
    let malformed = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "malformed"}, "stringData": {".dockerconfigjson": password.text()},
    });
    let object = |name: &str, host: &str, secret: &str| {
        let side = json!({
            "reference": format!("docker://{host}/app:1"), "tlsPolicy": "PlainHTTP",
            "secretRef": {"name": secret},
        });
        json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": name},
            "spec": {"source": {"reference": "oci:a:1"}, "destination": side, "runPolicy": "Once"},
        })
    };
    let good = vec![
        secret(&registry.host, "good"),
        secret(&stranger.host, "bad"),
        object("pushed", &registry.host, "good"),
        object("refused", &stranger.host, "bad"),
    ];
    let malformed = vec![malformed, object("unreadable", &registry.host, "malformed")];
    for (documents, reasons) in [
        (good, &["PushSucceeded", "AuthenticationFailed"][..]),
        (malformed, &["secret `malformed` cannot be used"]),
    ] {
        let documents: Vec<String> = documents.iter().map(ToString::to_string).collect();
        fs::write(folder.path().join("f.yaml"), documents.join("\n---\n")).unwrap();
        let arguments = ["apply", "-f", "f.yaml", "--output", "json"];
        let output = run(folder.path(), &arguments, &[], &[&password, &token]);
        let shown = String::from_utf8_lossy(&output.stdout).replace([' ', '\n'], "");
        for reason in reasons {
            assert!(shown.contains(&reason.replace(' ', "")), "{reason}: {shown}");
        }
    }
}
