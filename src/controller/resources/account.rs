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
    let found = accounts.get_metadata_opt(name).await.map_err(|cause| match cause {
        kube::Error::Api(answer) if matches!(answer.code, 401 | 403) => {
            Failure::forbidden("service account", name, "serviceaccounts", &answer.message)
        }
        cause => {
            let doing = format!("reading service account `{name}`");
            told(Error::new(Kind::NetworkError, cause.to_string()).doing(doing))
        }
    })?;
    let found = found.ok_or_else(|| Failure::account_not_found(name))?;
    if found.labels().get(APPLY_BUNDLES).is_some_and(|value| value == "true") {
        return Ok(account);
    }
    let message = format!("service account `{name}` is not for applying bundles");
    let error = Error::new(Kind::CustomResourcesForbidden, message);
    Err(told(error.hint(format!("label it `{APPLY_BUNDLES}=true` if it is meant"))))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::error::Class;

    /// A client of a server that answers everything with this code and reason.
    fn answered(code: u16, reason: &'static str) -> Client {
        let answer = move |_: Request<Body>| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": code, "reason": reason, "message": "no"});
            let body = Body::from(status.to_string().into_bytes());
            ready(Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap()))
        };
        Client::new(service_fn(answer), "n")
    }

    #[tokio::test]
    async fn what_is_missing_is_told() {
        for (code, reason, expected, class, says) in [
            (403, "Forbidden", "AccessDenied", Class::Permanent, "`get` `serviceaccounts`"),
            (404, "NotFound", "SecretNotFound", Class::Transient, "create it"),
            (
                503,
                "ServiceUnavailable",
                "NetworkError",
                Class::Transient,
                "reading service account",
            ),
        ] {
            let client = answered(code, reason);
            let failure = agreed(&client, "n", "deployer").await.unwrap_err();
            assert_eq!((failure.reason, failure.class), (expected, class), "{}", failure.message);
            assert!(failure.message.contains(says), "{}", failure.message);
        }
    }
}
