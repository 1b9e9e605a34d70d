//! A real Kubernetes API server with its etcd, one for the whole test binary.
//!
//! Nothing else of Kubernetes runs: no scheduler, no kubelet, no controllers. Tests keep apart by namespaces of their own;
//! those that stop it, or change the definition of ImagePush, have one of their own.
//! Both programs end with the test process, and hard: an API server that is asked politely waits for its etcd, which may
//! be gone.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tokio::sync::OnceCell;

use super::server::{End, Server};

/// How long the API server may take to answer; it needs three seconds on an idle machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Between two looks at something that is awaited.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// The running control plane.
pub(crate) struct ControlPlane {
    /// Folder with `kubectl` and `helm`.
    programs: PathBuf,
    /// Credentials of an administrator.
    kubeconfig: PathBuf,
    /// What the API server was asked, one document a line.
    audit: PathBuf,
    namespaces: AtomicU32,
    folder: PathBuf,
    /// Of etcd, for its clients and for its peers, and of the API server.
    ports: [u16; 3],
    etcd: Mutex<Option<Server>>,
    api_server: Mutex<Option<Server>>,
    /// Removes the folder when the test process has ended.
    _folder: Server,
}

/// The control plane; started by the first test that asks.
pub(crate) async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    // A start that fails is not tried again by each of the tests.
    let start =
        async || tokio::spawn(ControlPlane::start()).await.map_err(|cause| cause.to_string());
    let shared = SHARED.get_or_init(start).await;
    shared.as_ref().expect("the control plane starts")
}

/// The folder with the programs that Kubernetes is made of, built on first use.
pub(crate) fn programs() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/control-plane");
    let output = Command::new(&script).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|cause| panic!("cannot run {}: {cause}", script.display()));
    assert!(output.status.success(), "`make control-plane` fails: no API server to test with");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

// === impl ControlPlane ===

impl ControlPlane {
    async fn start() -> Self {
        let plane = Self::prepare().await;
        plane.start_etcd();
        plane.start_api_server().await;
        plane.install().await;
        plane
    }

    /// One for a test alone, which runs until [`Self::end`] or the end of the process.
    pub(crate) async fn own() -> &'static Self {
        Box::leak(Box::new(Self::start().await))
    }

    /// The same, of which nothing runs yet.
    pub(crate) async fn to_be() -> &'static Self {
        Box::leak(Box::new(Self::prepare().await))
    }

    async fn prepare() -> Self {
        let programs = tokio::task::spawn_blocking(programs).await.unwrap();
        let folder = tempfile::Builder::new().prefix("imagepush-control-plane-").tempdir().unwrap();
        let folder = folder.keep();
        let ports = free_ports();
        write_certificates(&folder);
        let kubeconfig = write_kubeconfig(&folder, ports[2]);
        let outputs = [Stdio::null(), Stdio::null()];
        let keeper = Server::start("sleep", &["infinity"], &folder, End::Kill, outputs);
        Self {
            programs,
            kubeconfig,
            audit: folder.join("audit.log"),
            namespaces: AtomicU32::new(0),
            folder,
            ports,
            etcd: Mutex::default(),
            api_server: Mutex::default(),
            _folder: keeper,
        }
    }

    /// Starts etcd, with what it knew before.
    pub(crate) fn start_etcd(&self) {
        let [client, peer, _] = self.ports;
        let etcd = start_etcd(&self.programs, &self.folder, client, peer);
        *self.etcd.lock().unwrap() = Some(etcd);
    }

    /// Starts the API server, and waits until it answers.
    pub(crate) async fn start_api_server(&self) {
        let [etcd, _, port] = self.ports;
        let server = start_api_server(&self.programs, &self.folder, etcd, port);
        *self.api_server.lock().unwrap() = Some(server);
        self.wait_until_ready(&self.folder.join("kube-apiserver.log")).await;
    }

    /// Ends the API server, at once.
    pub(crate) fn stop_api_server(&self) {
        self.api_server.lock().unwrap().take();
    }

    /// Ends everything.
    pub(crate) fn end(&self) {
        self.stop_api_server();
        self.etcd.lock().unwrap().take();
    }

    /// Has a copy of all that is stored made, or taken for what is stored, while nothing runs.
    pub(crate) fn copy_store(&self, from: &str, to: &str) {
        let (from, to) = (self.folder.join(from), self.folder.join(to));
        let _ = fs::remove_dir_all(&to);
        let copied = Command::new("cp").arg("-a").args([&from, &to]).status().unwrap();
        assert!(copied.success());
    }

    async fn wait_until_ready(&self, log: &Path) {
        let ready = async {
            while self.kubectl(&["get", "--raw", "/readyz"]).await.stdout != "ok" {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(READY_WITHIN, ready).await.is_err() {
            let log = fs::read_to_string(log).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            panic!(
                "kube-apiserver is not ready after {READY_WITHIN:?}; its log, backwards: {end:#?}"
            );
        }
    }

    /// Installs the operator as a user does. Nothing here runs its Deployment; tests run the operator themselves, with
    /// the service account that this makes.
    pub(crate) async fn install(&self) {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config/default");
        self.kubectl(&["apply", "--server-side", "-k", config]).await.succeeded();
        // What the chart adds with `rbac.digestOutput`.
        let group = "rbac.authorization.k8s.io";
        let metadata = serde_json::json!({"name": "digest-output"});
        let granted = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": metadata,
             "rules": [{"apiGroups": [""], "resources": ["configmaps"],
                "verbs": ["get", "create", "patch"]}]},
            {"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": metadata,
             "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "digest-output"},
             "subjects": [{"kind": "ServiceAccount", "name": "imagepush-controller",
                "namespace": "imagepush-system"}]},
        ]});
        self.kubectl_with(&["apply", "-f", "-"], &granted.to_string()).await.succeeded();
        let crd = "crd/imagepushes.imagepush.dev";
        self.kubectl(&["wait", "--for=condition=Established", crd]).await.succeeded();
    }

    /// A namespace for one test.
    pub(crate) async fn namespace(&self) -> String {
        let name = format!("test-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name]).await.succeeded();
        name
    }

    /// A client with the operator's own service account, so that its permissions are tested as well.
    pub(crate) async fn operator_client(&self) -> kube::Client {
        self.operator_client_called("imagepush-tests").await
    }

    /// The same, by whose name its requests are found again: see [`Self::audited_of`].
    pub(crate) async fn operator_client_called(&self, agent: &str) -> kube::Client {
        let account = ["create", "token", "-n", "imagepush-system", "imagepush-controller"];
        let token = self.kubectl(&account).await.succeeded();
        let mut config = self.config().await;
        config.auth_info =
            kube::config::AuthInfo { token: Some(token.trim().into()), ..Default::default() };
        kube::Client::try_from(called(config, agent)).unwrap()
    }

    /// A client that may do everything.
    pub(crate) async fn admin_client(&self) -> kube::Client {
        self.admin_client_called("imagepush-tests").await
    }

    /// The same, by whose name its requests are found again.
    pub(crate) async fn admin_client_called(&self, agent: &str) -> kube::Client {
        kube::Client::try_from(called(self.config().await, agent)).unwrap()
    }

    /// The address of the API server, with an administrator's credentials, and without sending anything twice, which the
    /// operator doesn't want either.
    pub(crate) async fn config(&self) -> kube::Config {
        // Another part of the process may have done it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = kube::config::Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(file, &options).await.unwrap();
        config.default_retry = false;
        config
    }

    /// The requests about objects of a namespace that were answered, as the API server's audit log has them.
    pub(crate) fn audited(&self, namespace: &str) -> Vec<serde_json::Value> {
        self.audited_where(|event| event["objectRef"]["namespace"] == namespace)
    }

    /// All that a client of this name has asked for, also of the whole cluster and of what is no object: as whom (nobody, if as
    /// itself), and what.
    pub(crate) fn audited_of(&self, agent: &str) -> BTreeSet<(Option<String>, String)> {
        let asked = |event: serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            let what = text(&event["objectRef"]["resource"]).or(text(&event["requestURI"]));
            let asked = format!("{} {}", event["verb"].as_str().unwrap(), what.unwrap());
            (text(&event["impersonatedUser"]["username"]), asked)
        };
        self.audited_where(|event| event["userAgent"] == agent).into_iter().map(asked).collect()
    }

    fn audited_where(&self, holds: impl Fn(&serde_json::Value) -> bool) -> Vec<serde_json::Value> {
        let log = fs::read_to_string(&self.audit).unwrap();
        // The last line may be under way.
        let events = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        events.filter(holds).collect()
    }

    /// The file with an administrator's credentials.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl as an administrator.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with(arguments, "").await
    }

    /// Runs kubectl as an administrator, with something on its standard input.
    pub(crate) async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = tokio::process::Command::new(self.programs.join("kubectl"));
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", "/nonexistent").args(arguments);
        run(command, input).await
    }
}

/// With a name for the API server's log.
fn called(mut config: kube::Config, agent: &str) -> kube::Config {
    let agent = axum::http::HeaderValue::from_str(agent).unwrap();
    config.headers.push((axum::http::header::USER_AGENT, agent));
    config
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

// === impl Output ===

impl Output {
    /// Its standard output; a failure of the program is one of the test.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert!(self.success, "{}{}", self.stdout, self.stderr);
        self.stdout
    }
}

/// Runs a program to its end.
pub(crate) async fn run(mut command: tokio::process::Command, input: &str) -> Output {
    use tokio::io::AsyncWriteExt as _;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|cause| panic!("{command:?}: {cause}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Ports that nobody listens on. All are held until the last one is found, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn start_etcd(programs: &Path, folder: &Path, client: u16, peer: u16) -> Server {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let data = folder.join("etcd").display().to_string();
    let arguments = [
        "--name=test".to_owned(),
        format!("--data-dir={data}"),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=test={peer}"),
        "--unsafe-no-fsync".to_owned(),
    ];
    start(&programs.join("etcd"), &arguments, folder, "etcd")
}

/// Who asked for what, once it was answered; not what was sent, nor reads of the busiest kinds.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  resources: [{group: coordination.k8s.io}, {group: events.k8s.io}]
- level: Metadata
";

fn start_api_server(programs: &Path, folder: &Path, etcd: u16, port: u16) -> Server {
    let file = |name: &str| folder.join(name).display().to_string();
    fs::write(folder.join("audit.yaml"), AUDIT_POLICY).unwrap();
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("certificates")),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        format!("--audit-policy-file={}", file("audit.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
        "--audit-log-mode=blocking".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        "--profiling=false".to_owned(),
    ];
    start(&programs.join("kube-apiserver"), &arguments, folder, "kube-apiserver")
}

/// Starts a program with both its outputs in a log. What it has stored stays after its end.
fn start(program: &Path, arguments: &[String], folder: &Path, name: &str) -> Server {
    let log = fs::File::create(folder.join(format!("{name}.log"))).unwrap();
    let outputs = [log.try_clone().unwrap().into(), log.into()];
    Server::start(program, arguments, &folder.join(format!("{name}.scratch")), End::Kill, outputs)
}

/// An authority, a server certificate, an administrator's certificate, and the key that signs tokens.
fn write_certificates(folder: &Path) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut authority = named("imagepush test authority", None, &[]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.crt", &authority.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(authority, key);

    let issue = |name: &str, mut parameters: CertificateParams, purpose| {
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.crt"), &parameters.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    };
    let server = named("kube-apiserver", None, &["127.0.0.1", "localhost"]);
    issue("server", server, ExtendedKeyUsagePurpose::ServerAuth);
    let administrator = named("administrator", Some("system:masters"), &[]);
    issue("administrator", administrator, ExtendedKeyUsagePurpose::ClientAuth);
    let accounts = KeyPair::generate().unwrap();
    write("accounts.key", &accounts.serialize_pem());
    write("accounts.pub", &accounts.public_key_pem());
}

fn named(name: &str, group: Option<&str>, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts).unwrap();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        parameters.distinguished_name.push(DnType::OrganizationName, group);
    }
    parameters
}

fn write_kubeconfig(folder: &Path, port: u16) -> PathBuf {
    let file = |name: &str| folder.join(name).display().to_string();
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": file("ca.crt")}}],
        "users": [{"name": "test", "user": {
            "client-certificate": file("administrator.crt"), "client-key": file("administrator.key")}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    let path = folder.join("kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path
}
