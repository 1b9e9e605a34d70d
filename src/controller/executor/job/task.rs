//! What a Job's pod is told to do: the object, and what its Secrets say beside their content.
//!
//! It reaches the pod as a file that is made of an annotation of the pod itself, so that one object of the cluster holds the
//! whole attempt. There is no secret in it: the kubelet puts what an ImagePush may use of its Secrets beside it, as files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::{ImagePush, ImagePushSpec};
use crate::controller::delivery::Delivery;
use crate::controller::resolve::{self, DOCKER_CONFIG, Secrets};
use crate::image::Platform;

/// What a Job's pod is told to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// Its name, for messages.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What is asked for.
    pub spec: ImagePushSpec,
    /// What is to be achieved, and what status has recorded.
    pub(crate) delivery: Delivery,
    /// How long it may take.
    pub timeout_seconds: u64,
    /// The operator's own platform, which the mode `System` is about, whatever node the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The Secrets that the spec names, itself or by a ServiceAccount.
    pub secrets: BTreeMap<String, SecretFacts>,
    /// The names of each ServiceAccount's pull secrets, in its order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accounts: BTreeMap<String, Vec<String>>,
}

/// What is known of a Secret beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretFacts {
    /// Its type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its annotations under our own prefix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The keys that it has, of those that are used.
    pub keys: Vec<String>,
}

/// The keys of Secrets that are ever used; no other gets into a pod.
pub(crate) const KEYS: [&str; 6] =
    [DOCKER_CONFIG, "ca.crt", "password", "tls.crt", "tls.key", "username"];

const PREFIX: &str = "imagepush.dev/";

// === impl Task ===

impl Task {
    /// The task of an attempt for an object, whose Secrets have been read.
    pub(crate) fn new(
        object: &ImagePush,
        secrets: &Secrets,
        delivery: Delivery,
        timeout: std::time::Duration,
    ) -> Self {
        let direct = resolve::names(&object.spec);
        let facts = secrets.named.iter().map(|(name, secret)| {
            // Of a pull secret no more than a kubelet uses.
            let keys = if direct.contains(name.as_str()) { &KEYS[..] } else { &[DOCKER_CONFIG] };
            (name.clone(), SecretFacts::of(secret, keys))
        });
        Self {
            name: object.name_any(),
            namespace: object.namespace().unwrap_or_default(),
            spec: object.spec.clone(),
            delivery,
            timeout_seconds: timeout.as_secs().max(1),
            platform: Some(Platform::of_this_machine().to_string()),
            secrets: facts.collect(),
            accounts: secrets.accounts.clone(),
        }
    }
}

// === impl SecretFacts ===

impl SecretFacts {
    fn of(secret: &Secret, used: &[&str]) -> Self {
        let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
        let keys = used.iter().filter(|key| has(key)).map(|key| (*key).to_owned());
        let ours = |(name, _): &(&String, &String)| name.starts_with(PREFIX);
        let annotations = secret.annotations().iter().filter(ours);
        Self {
            kind: secret.type_.clone(),
            annotations: annotations.map(|(name, it)| (name.clone(), it.clone())).collect(),
            keys: keys.collect(),
        }
    }
}
