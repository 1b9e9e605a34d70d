//! Where an image is, and what is needed to reach it.
#![expect(
    unreachable_pub,
    reason = "the derive of `KubeSchema` repeats the type where nothing reaches it"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::volume::VolumeSource;

/// The place of an image, with what is needed to reach it.
// That a transport of files has to have a `volume` is a rule of the CRD alone: the same object can be applied without a
// cluster, where there is none.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.serviceAccountName) || self.serviceAccountName.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
    .message("`serviceAccountName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them"))]
#[x_kube(validation = Rule::new(
    "self.reference.startsWith('docker:') || !(has(self.secretRef) || has(self.serviceAccountName) || has(self.certSecretRef) || has(self.tlsPolicy))")
    .message("`secretRef`, `serviceAccountName`, `certSecretRef` and `tlsPolicy` may only be specified for the docker transport"))]
#[x_kube(validation = Rule::new("!has(self.serviceAccountName) || !has(self.secretRef)")
    .message("`serviceAccountName` may not be specified together with `secretRef`"))]
#[x_kube(validation = Rule::new(
    "!has(self.certSecretRef) || !has(self.tlsPolicy) || self.tlsPolicy != 'PlainHTTP'")
    .message("`certSecretRef` may not be specified when `tlsPolicy` is 'PlainHTTP'"))]
#[x_kube(validation = Rule::new("!has(self.volume) || !self.reference.startsWith('docker:')")
    .message("`volume` may not be specified for the docker transport"))]
#[x_kube(validation = Rule::new(
    "!has(self.volume) || self.reference.startsWith('docker:') || !(self.reference.matches('^[^:]*:/') || self.reference.matches('[:/][.][.]([:/]|$)'))")
    .message("`reference` must name a path relative to `volume`, and may not contain '..'"))]
pub struct ImageLocation {
    /// Name of the image, with its transport, as on the command line: for example
    /// `docker://registry.example/team/app:1.0`, or with a digest instead of a tag
    /// `docker://registry.example/team/app@sha256:…`. The transports that read and write files need a `volume`, and name a
    /// path relative to it: `oci:images/app:1.0`.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,

    /// Secret in the object's own namespace, of type `kubernetes.io/dockerconfigjson`: of its entries, the one for this
    /// reference's registry is used, and for no other host. Or of type `kubernetes.io/basic-auth`, whose annotation
    /// `imagepush.dev/registry` names the registry that it is for. Without it, the registry is asked anonymously.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,

    /// ServiceAccount in the object's own namespace, whose `imagePullSecrets` are used as `secretRef` would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,

    /// Secret in the object's own namespace, of type `Opaque` or `kubernetes.io/tls`, with certificates in PEM: `ca.crt` is
    /// trusted beside the system's authorities; `tls.crt` with `tls.key` is shown to a registry that asks for a client
    /// certificate, and the annotation `imagepush.dev/registry` has to name that registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretReference>,

    /// How the connection to this registry is secured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_policy: Option<TlsPolicy>,

    /// The volume that a transport of files reads or writes. The push then runs in a Job that mounts it; pushes that use the
    /// same volume run one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeSource>,
}

/// A Secret in the object's own namespace. There is no field for a namespace: other namespaces can't be reached.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.name.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
    .message("`name` must be the name of an object: lower-case letters and digits, with `-` and `.` between them"))]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How the connection to this registry is secured. `Verify`, the default: HTTPS with a verified certificate.
/// `SkipVerify`: HTTPS with any certificate, never plain HTTP. `PlainHTTP`: HTTP without TLS; credentials and
/// content can be read on the way.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// HTTPS with a verified certificate.
    Verify,
    /// HTTPS with any certificate, never plain HTTP.
    SkipVerify,
    /// HTTP without TLS.
    #[serde(rename = "PlainHTTP")]
    PlainHttp,
}
