//! The ServiceAccount that bundles are applied as, which has to have agreed to that.
//!
//! Whoever may make an ImagePush may name any account of its namespace; without this, also one that may do more than they.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, ResourceExt as _};

use crate::api::APPLY_BUNDLES;
use crate::apply::Account;
use crate::controller::failure::Failure;
use crate::error::{Error, Kind};

/// The account of this name, if it is there and its label says so.
pub(super) async fn agreed(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Account, Failure> {
    let told = |error: Error| Failure::from(&error);
    let account = Account::new(namespace, name).map_err(told)?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let found = accounts.get_metadata_opt(name).await.map_err(|cause| {
        let doing = format!("reading service account `{name}`");
        told(Error::new(Kind::NetworkError, cause.to_string()).doing(doing))
    })?;
    let found = found.ok_or_else(|| Failure::account_not_found(name))?;
    if found.labels().get(APPLY_BUNDLES).is_some_and(|value| value == "true") {
        return Ok(account);
    }
    let message = format!("service account `{name}` is not for applying bundles");
    let error = Error::new(Kind::CustomResourcesForbidden, message);
    Err(told(error.hint(format!("label it `{APPLY_BUNDLES}=true` if it is meant"))))
}
