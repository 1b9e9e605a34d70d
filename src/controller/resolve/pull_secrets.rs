//! What a ServiceAccount's `imagePullSecrets` say together, as one text of the form of a dockerconfigjson.
//!
//! As for a kubelet, a pull secret that isn't there, or is of another type, says nothing, and of two entries for the same
//! registry the first counts.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret as SecretObject, ServiceAccount};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Map, Value, json};

use super::{DOCKER_CONFIG, DOCKER_CONFIG_TYPE, Named, Unresolved, type_of, unreadable, value};
use crate::api::check::is_object_name;
use crate::controller::failure::Failure;
use crate::limits::MAX_PULL_SECRETS;

/// Reads a ServiceAccount: the names of its pull secrets.
pub(super) async fn names(
    client: &Client,
    namespace: &str,
    account: &str,
) -> Result<Vec<String>, Unresolved> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    if !is_object_name(account) {
        return Err(Failure::account_not_found(account).into());
    }
    let failed = |cause| unreadable(&Named::account(account), cause);
    let found = accounts.get_opt(account).await.map_err(failed)?;
    let found = found.ok_or_else(|| Failure::account_not_found(account))?;
    let names = found.image_pull_secrets.into_iter().flatten().map(|reference| reference.name);
    Ok(names.filter(|name| is_object_name(name)).take(MAX_PULL_SECRETS).collect())
}

/// One Secret that says what these say.
pub(super) fn merged<'a>(
    secrets: impl IntoIterator<Item = &'a SecretObject>,
) -> Result<SecretObject, Failure> {
    let mut entries = Map::new();
    let logins = secrets.into_iter().filter(|secret| type_of(secret) == DOCKER_CONFIG_TYPE);
    for secret in logins {
        let Some(text) = value(secret, DOCKER_CONFIG) else { continue };
        // The parser's own words may repeat a value.
        let content: Value = serde_json::from_slice(text).map_err(|_| {
            let what = format!("key `{DOCKER_CONFIG}` is not JSON");
            Failure::secret_invalid(&secret.name_any(), &what)
        })?;
        for (registry, entry) in content["auths"].as_object().into_iter().flatten() {
            entries.entry(registry).or_insert_with(|| entry.clone());
        }
    }
    let text = ByteString(json!({"auths": entries}).to_string().into_bytes());
    let data = Some([(DOCKER_CONFIG.to_owned(), text)].into());
    Ok(SecretObject { data, ..SecretObject::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, text: &str) -> SecretObject {
        let mut secret = SecretObject::default();
        secret.metadata.name = Some(name.into());
        secret.type_ = Some(DOCKER_CONFIG_TYPE.into());
        secret.data = Some([(DOCKER_CONFIG.to_owned(), ByteString(text.into()))].into());
        secret
    }

    #[test]
    fn the_first_entry_for_a_registry_counts() {
        let mut opaque = secret("o", r#"{"auths": {"r.example": {"auth": "of another type"}}}"#);
        opaque.type_ = Some("Opaque".into());
        let merged = merged(&[
            opaque,
            secret("a", r#"{"auths": {"r.example": {"auth": "first"}}}"#),
            SecretObject::default(),
            secret("b", r#"{"auths": {"r.example": {"auth": "second"}, "s.example": {}}}"#),
        ]);
        let merged = merged.unwrap();
        let text: Value = serde_json::from_slice(value(&merged, DOCKER_CONFIG).unwrap()).unwrap();
        assert_eq!(text, json!({"auths": {"r.example": {"auth": "first"}, "s.example": {}}}));
    }

    #[test]
    fn one_that_is_broken_is_named_without_its_content() {
        let failure = merged(&[secret("a", "canary")]).unwrap_err();
        assert_eq!(
            failure.message,
            "secret `a` cannot be used: key `.dockerconfigjson` is not JSON"
        );
    }
}
