//! What one run of a phase has for itself: registries, a namespace, a way to the API server, and the program.

use std::fs;
use std::path::Path;

use imagepush::api::v1alpha1::ImagePush;
use kube::Api;
use kube::api::{Patch, PatchParams};

use super::super::turns::Process;
use super::super::*;
use crate::cli::run::program;
use crate::support::api_proxy::ApiProxy;
use crate::support::images::{Content, Form};

/// The lease that operators take turns by.
const LEASE: &str = "phases";

/// An image on the disk.
pub(super) struct Image {
    folder: tempfile::TempDir,
    pub(super) content: Content,
    /// A layer that is longer than what is read of it at once.
    pub(super) large: String,
}

impl Image {
    /// Two platforms, which share a layer.
    pub(super) fn new(seed: u64, large: usize) -> Self {
        let shared = images::layer(seed, 5000, Form::Gzip);
        let long = images::layer(seed + 1, large, Form::Gzip);
        let own = images::layer(seed + 2, 3000, Form::Gzip);
        let large = images::digest(&long.bytes);
        let platform = |architecture: &str| json!({"os": "linux", "architecture": architecture});
        let content = Content::index(vec![
            (platform("amd64"), Content::image("linux", "amd64", &[long, shared.clone()])),
            (platform("arm64"), Content::image("linux", "arm64", &[shared, own])),
        ]);
        let folder = tempfile::tempdir().unwrap();
        content.write_layout(folder.path(), Some("1"));
        Self { folder, content, large }
    }

    /// Puts it where objects read it.
    pub(super) async fn fill(&self, host: &str) {
        let from = format!("oci:{}:1", self.folder.path().display());
        let mut options = push::options(&from, &format!("docker://{host}/app:1"));
        options.destination.access.tls = TlsPolicy::PlainHttp;
        push::run(&options).await.unwrap();
    }
}

/// Where a run takes place.
pub(super) struct Scene {
    /// Does what no operator does; looks after nothing.
    pub(super) hands: Operator,
    pub(super) proxy: ApiProxy,
    pub(super) source: Registry,
    pub(super) destination: Registry,
    objects: Api<ImagePush>,
    folder: tempfile::TempDir,
}

impl Scene {
    pub(super) async fn new(image: &Image, token: &str) -> Self {
        let plane = control_plane().await;
        let namespace = plane.namespace().await;
        let (source, destination) = (Registry::start().await, Registry::start().await);
        image.fill(&source.host).await;
        let password = canary::secret("operator::phases");
        destination.set_login(Login::bearer("user", password));
        let auths =
            json!({"auths": {&destination.host: {"username": "user", "password": password}}});
        let (of_role, operator) = ("rbac.authorization.k8s.io", "imagepush-controller");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}},
            {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
             "metadata": {"name": "login"}, "stringData": {".dockerconfigjson": auths.to_string()}},
            {"apiVersion": format!("{of_role}/v1"), "kind": "Role", "metadata": {"name": LEASE},
             "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "verbs": ["get", "create", "update"]}]},
            {"apiVersion": format!("{of_role}/v1"), "kind": "RoleBinding", "metadata": {"name": LEASE},
             "roleRef": {"apiGroup": of_role, "kind": "Role", "name": LEASE},
             "subjects": [{"kind": "ServiceAccount", "name": operator, "namespace": "imagepush-system"}]},
        ]});
        let apply = ["-n", &namespace, "apply", "-f", "-"];
        plane.kubectl_with(&apply, &list.to_string()).await.succeeded();
        let objects = Api::namespaced(plane.admin_client().await, &namespace);
        let proxy = ApiProxy::start(plane).await;
        let folder = tempfile::tempdir().unwrap();
        write_kubeconfig(&folder.path().join("config"), &proxy, token);
        fs::create_dir(folder.path().join("temporary")).unwrap();
        let (stop, task) = (CancellationToken::new(), tokio::spawn(async { Ok(()) }));
        let hands = Operator { plane, namespace, stop, task };
        Self { hands, proxy, source, destination, objects, folder }
    }

    /// As one of several, which take turns.
    pub(super) fn start(&self) -> Process {
        let lease = format!("--lease={LEASE}");
        self.start_with(&[&lease, &format!("--lease-namespace={}", self.hands.namespace)])
    }

    /// The only one, which need not wait for the end of another one's lease.
    pub(super) fn start_alone(&self) -> Process {
        self.start_with(&["--leader-election=false"])
    }

    fn start_with(&self, more: &[&str]) -> Process {
        let namespace = &self.hands.namespace;
        let arguments = [
            "operator",
            "--listen=none",
            "--egress-allow=127.0.0.1",
            "--job-image=registry.example/imagepush:1",
            &format!("--watch-namespace={namespace}"),
        ];
        let mut program = program(self.folder.path(), &arguments);
        program.args(more);
        program.env("KUBECONFIG", self.folder.path().join("config"));
        program.env("TMPDIR", self.folder.path().join("temporary"));
        Process::of(program)
    }

    pub(super) async fn make(&self, name: &str, more: &Value) {
        let mut spec = spec(&self.source.host, &self.destination.host, more);
        spec["destination"]["secretRef"] = json!({"name": "login"});
        let object = json!({"apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"name": name}, "spec": spec});
        let object = serde_json::from_value(object).unwrap();
        self.objects.create(&kube::api::PostParams::default(), &object).await.unwrap();
    }

    pub(super) async fn delete(&self, name: &str) {
        self.objects.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }

    /// Has an object looked at, and waits until it was.
    pub(super) async fn look(&self, name: &str) {
        let asked = json!({"metadata": {"annotations": {"imagepush.dev/requestedAt": "now"}}});
        let patch = Patch::Merge(asked);
        self.objects.patch(name, &PatchParams::default(), &patch).await.unwrap();
        self.until(name, |object| object["status"]["lastHandledReconcileAt"] == "now").await;
    }

    /// The object; null if it is gone.
    pub(super) async fn get(&self, name: &str) -> Value {
        let object = self.objects.get_opt(name).await.unwrap();
        object.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    pub(super) async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(async || self.get(name).await, holds).await
    }

    /// Has the lease of an operator that was killed run out soon.
    pub(super) async fn shorten_lease(&self) {
        let client = self.objects.clone().into_client();
        let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
            Api::namespaced(client, &self.hands.namespace);
        let soon = Patch::Merge(json!({"spec": {"leaseDurationSeconds": 1}}));
        if leases.get_opt(LEASE).await.unwrap().is_some() {
            leases.patch(LEASE, &PatchParams::default(), &soon).await.unwrap();
        }
    }

    /// What processes have left behind on the disk.
    pub(super) fn litter(&self) -> Vec<String> {
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let mut found: Vec<String> = names(self.folder.path());
        found.retain(|name| !["config", "temporary"].contains(&name.as_str()));
        found.extend(names(&self.folder.path().join("temporary")));
        found
    }
}

/// Waits until something holds that is looked for in this process.
pub(super) async fn holds(what: &str, is_so: impl Fn() -> bool) {
    let found = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, found).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"));
}

fn write_kubeconfig(path: &Path, proxy: &ApiProxy, token: &str) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", proxy.address)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    fs::write(path, config.to_string()).unwrap();
}
