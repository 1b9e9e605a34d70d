//! Writes the digest of what was pushed into a ConfigMap, for those who want to pull exactly that.
//!
//! The ConfigMap is the object's own: made by it, and deleted with it. One that somebody else has made is left alone.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;

use super::api_server::is_denied;
use super::endings::is_ending;
use super::failure::Failure;
use crate::api::FIELD_MANAGER;
use crate::api::v1alpha1::{ConfigMapKeyReference, ImagePush};

/// Makes the ConfigMap that the spec names hold the digest. A failure that is no [`kube::Error`] is for somebody to see to.
pub(crate) async fn write(
    client: &Client,
    object: &ImagePush,
    digest: &str,
) -> Result<Result<(), Failure>, kube::Error> {
    let Some(output) = &object.spec.digest_output else { return Ok(Ok(())) };
    match write_to(client, object, &output.config_map_key_ref, digest).await {
        Err(kube::Error::Api(answer)) if is_denied(answer.code) => {
            let name = &output.config_map_key_ref.name;
            Ok(Err(Failure::digest_untold(name, &answer.message)))
        }
        written => written,
    }
}

async fn write_to(
    client: &Client,
    object: &ImagePush,
    place: &ConfigMapKeyReference,
    digest: &str,
) -> Result<Result<(), Failure>, kube::Error> {
    let ConfigMapKeyReference { name, key } = place;
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let Some(found) = api.get_opt(name).await? else {
        return create(&api, object, name, key, digest).await.map(Ok);
    };
    if !is_ours(&found, object) {
        return Ok(Err(Failure::config_map_taken(name)));
    }
    if found.data.as_ref().and_then(|data| data.get(key)).is_none_or(|value| value != digest) {
        // By name and version: what was looked at is what is written.
        let patch = json!({
            "metadata": {"resourceVersion": found.resource_version()}, "data": {key: digest},
        });
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        api.patch(name, &parameters, &Patch::Merge(&patch)).await?;
    }
    Ok(Ok(()))
}

async fn create(
    api: &Api<ConfigMap>,
    object: &ImagePush,
    name: &str,
    key: &str,
    digest: &str,
) -> Result<(), kube::Error> {
    let made = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: object.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some([(key.to_owned(), digest.to_owned())].into()),
        ..ConfigMap::default()
    };
    let parameters =
        PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&parameters, &made).await {
        Err(kube::Error::Api(answer)) if is_ending(&answer) => Ok(()),
        created => created.map(|_| ()),
    }
}

fn is_ours(found: &ConfigMap, object: &ImagePush) -> bool {
    found.owner_references().iter().any(|owner| Some(&owner.uid) == object.uid().as_ref())
}
