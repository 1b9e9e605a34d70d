//! Turns the Secrets that a spec names into what each side may use.
//!
//! Only Secrets of the object's own namespace are read, by name, anew for each attempt: a corrected Secret counts at
//! once. Of a dockerconfigjson, the entry for the reference's own registry is used and no other; a Secret that doesn't
//! say by its content which registry it is for says so by an annotation. What type it is of is asked before its content
//! is looked at, and nothing of that gets into a message.

mod certificates;
mod pull_secrets;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::{Api, Client, ResourceExt as _};

use super::failure::Failure;
use crate::access::{
    Access, AuthFile, Certificates, Credential, Credentials, Network, Registries, Secret, TlsPolicy,
};
use crate::api::REGISTRY;
use crate::api::check::is_object_name;
use crate::api::v1alpha1::{self, ImageLocation, ImagePushSpec};
use crate::transport;

/// The Secrets that a spec names, itself or by a ServiceAccount.
#[derive(Clone, Default)]
pub struct Secrets {
    /// By name.
    pub(crate) named: BTreeMap<String, SecretObject>,
    /// The names of each ServiceAccount's pull secrets, in its order. Those that are there are among the named.
    pub(crate) accounts: BTreeMap<String, Vec<String>>,
}

/// The type of a Secret with a user name and a password.
const BASIC_AUTH: &str = "kubernetes.io/basic-auth";

/// The type of a Secret with the logins of several registries.
const DOCKER_CONFIG_TYPE: &str = "kubernetes.io/dockerconfigjson";

/// The type of a Secret of which nothing is said, which is also what one gets that is made without a type.
const OPAQUE: &str = "Opaque";

/// The key of a Secret of type `kubernetes.io/dockerconfigjson`.
pub(crate) const DOCKER_CONFIG: &str = ".dockerconfigjson";

// === impl Secrets ===

impl Secrets {
    /// Adds one; returns the one that had its name.
    pub fn insert(&mut self, name: String, secret: SecretObject) -> Option<SecretObject> {
        self.named.insert(name, secret)
    }
}

/// What is wrong with a name that the schema should have refused, or that comes from elsewhere.
const NO_NAME: &str = "no object has such a name";

/// Why it isn't known how a side is reached.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// Something is not as it should be; somebody has to change it.
    Failure(Failure),
    /// The API server can't be asked now: nothing is known.
    Api(kube::Error),
}

/// Reads the Secrets that a spec names, itself or by a ServiceAccount.
pub(crate) async fn secrets(
    client: &Client,
    namespace: &str,
    spec: &ImagePushSpec,
) -> Result<Secrets, Unresolved> {
    let api: Api<SecretObject> = Api::namespaced(client.clone(), namespace);
    let mut secrets = Secrets::default();
    for name in names(spec) {
        if !is_object_name(name) {
            return Err(Failure::secret_invalid(name, NO_NAME).into());
        }
        let missing = || Unresolved::Failure(Failure::secret_not_found(name));
        let secret = read(&api, name).await?.ok_or_else(missing)?;
        secrets.named.insert(name.to_owned(), secret);
    }
    for account in accounts(spec) {
        let names = pull_secrets::names(client, namespace, account).await?;
        for name in &names {
            if let Some(secret) = read(&api, name).await? {
                secrets.named.insert(name.clone(), secret);
            }
        }
        secrets.accounts.insert(account.to_owned(), names);
    }
    Ok(secrets)
}

async fn read(api: &Api<SecretObject>, name: &str) -> Result<Option<SecretObject>, Unresolved> {
    let secret = api.get_opt(name).await;
    secret.map_err(|cause| unreadable(&Named::secret(name), cause))
}

/// Whether a spec names anything that may change without it.
pub(crate) fn names_any(spec: &ImagePushSpec) -> bool {
    !names(spec).is_empty() || !accounts(spec).is_empty()
}

/// Each ServiceAccount that a spec names.
pub(crate) fn accounts(spec: &ImagePushSpec) -> BTreeSet<&str> {
    let sides = [&spec.source, &spec.destination];
    sides.into_iter().filter_map(|side| side.service_account_name.as_deref()).collect()
}

/// The names of the Secrets of a spec.
pub(crate) fn names(spec: &ImagePushSpec) -> BTreeSet<&str> {
    [&spec.source, &spec.destination]
        .into_iter()
        .flat_map(|side| [&side.secret_ref, &side.cert_secret_ref])
        .flatten()
        .map(|reference| reference.name.as_str())
        .collect()
}

/// What tells two states of the Secrets apart: their identities and versions, never their content.
pub(crate) fn fingerprint(secrets: &Secrets) -> String {
    let Secrets { named, accounts } = secrets;
    let states = named.iter().map(|(name, secret)| {
        let [uid, version] = [&secret.metadata.uid, &secret.metadata.resource_version];
        format!("{name} {} {}\n", uid.as_deref().unwrap_or(""), version.as_deref().unwrap_or(""))
    });
    let accounts =
        accounts.iter().map(|(account, names)| format!("account {account} {}\n", names.join(" ")));
    states.chain(accounts).collect()
}

/// What a side may use, over a network that is shared.
pub fn access(
    location: &ImageLocation,
    secrets: &Secrets,
    network: &Network,
) -> Result<Access, Failure> {
    let ImageLocation {
        reference,
        secret_ref,
        service_account_name,
        cert_secret_ref,
        tls_policy,
        volume: _,
    } = location;
    let find = |name: &str| secrets.named.get(name).ok_or_else(|| Failure::secret_not_found(name));
    let credentials = match (secret_ref, service_account_name) {
        (Some(secret), _) => credentials(&secret.name, find(&secret.name)?, reference)?,
        (None, Some(account)) => {
            let names = secrets.accounts.get(account);
            let names = names.ok_or_else(|| Failure::account_not_found(account))?;
            let found = names.iter().filter_map(|name| secrets.named.get(name));
            let merged = pull_secrets::merged(found)?;
            docker_config(&format!("service account {account}"), account, &merged)?
        }
        (None, None) => Credentials::Anonymous,
    };
    let certificates = match cert_secret_ref {
        Some(secret) => certificates::of(&secret.name, find(&secret.name)?, reference)?,
        None => Certificates::System,
    };
    let tls = match tls_policy {
        None | Some(v1alpha1::TlsPolicy::Verify) => TlsPolicy::Verify,
        Some(v1alpha1::TlsPolicy::SkipVerify) => TlsPolicy::SkipVerify,
        Some(v1alpha1::TlsPolicy::PlainHttp) => TlsPolicy::PlainHttp,
    };
    // Files of whatever node this runs on must not matter.
    let registries = Registries::default();
    Ok(Access {
        credentials,
        certificates,
        tls,
        network: network.clone(),
        registries,
        ..Access::default()
    })
}

fn credentials(name: &str, secret: &SecretObject, reference: &str) -> Result<Credentials, Failure> {
    match type_of(secret) {
        BASIC_AUTH => basic(name, secret, reference),
        DOCKER_CONFIG_TYPE => docker_config(&format!("secret {name}"), name, secret),
        other => {
            let what = format!(
                "its type is `{other}`, and that of a login has to be `{DOCKER_CONFIG_TYPE}` or `{BASIC_AUTH}`; name \
                 another one, or make it anew with that type"
            );
            Err(Failure::secret_invalid(name, &what))
        }
    }
}

/// As the API server completes it.
fn type_of(secret: &SecretObject) -> &str {
    secret.type_.as_deref().filter(|it| !it.is_empty()).unwrap_or(OPAQUE)
}

fn docker_config(place: &str, name: &str, secret: &SecretObject) -> Result<Credentials, Failure> {
    let text = value(secret, DOCKER_CONFIG).ok_or_else(|| {
        Failure::secret_invalid(name, &format!("it has no key `{DOCKER_CONFIG}`"))
    })?;
    let file = AuthFile::parse(text, place)
        .map_err(|error| Failure::secret_invalid(name, &error.to_string()))?;
    Ok(Credentials::Text(file))
}

/// A login that says by itself which registry it is for: whoever may name a Secret can't send it elsewhere.
fn basic(name: &str, secret: &SecretObject, reference: &str) -> Result<Credentials, Failure> {
    let invalid = |what: &str| Failure::secret_invalid(name, what);
    bound(name, secret, reference, "it")?;
    let text = |key: &str| {
        let text = value(secret, key).and_then(|text| std::str::from_utf8(text).ok());
        text.map(str::to_owned)
            .ok_or_else(|| invalid(&format!("it has no key `{key}` with a text")))
    };
    let (username, password) = (text("username")?, text("password")?);
    Ok(Credentials::Explicit(Credential::basic(username, Secret::new(password))))
}

/// Refuses a Secret of which a part, that is named, may be used for one registry only, unless it says that it is this one.
fn bound(name: &str, secret: &SecretObject, reference: &str, part: &str) -> Result<(), Failure> {
    let parsed = transport::parse(reference).ok();
    let named = parsed.as_ref().and_then(|parsed| parsed.repository()).map(|it| &it.registry);
    let what = match (secret.annotations().get(REGISTRY), named) {
        (Some(registry), Some(named)) if named.eq_ignore_ascii_case(registry) => return Ok(()),
        (Some(registry), named) => {
            let named = named.map_or("", String::as_str);
            format!(
                "{part} is for the registry `{registry}`, and not for `{named}`; name another one, or have its \
                 annotation `{REGISTRY}` changed"
            )
        }
        (None, _) => format!(
            "it has no annotation `{REGISTRY}`, which names the registry {part} is for; have it annotated by who may \
             change it"
        ),
    };
    Err(Failure::secret_invalid(name, &what))
}

fn value<'a>(secret: &'a SecretObject, key: &str) -> Option<&'a [u8]> {
    secret.data.as_ref()?.get(key).map(|value| value.0.as_slice())
}

/// Something in the object's namespace that is read by its name.
struct Named<'a> {
    /// What it is, in a message.
    kind: &'static str,
    /// What it is, in a permission.
    resource: &'static str,
    name: &'a str,
}

/// The API server can't be asked now, or does not let us.
fn unreadable(named: &Named<'_>, cause: kube::Error) -> Unresolved {
    let Named { kind, resource, name } = named;
    match &cause {
        kube::Error::Api(answer) if answer.code == 403 => {
            Unresolved::Failure(Failure::forbidden(kind, name, resource, &answer.message))
        }
        _ => Unresolved::Api(cause),
    }
}

impl From<Failure> for Unresolved {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

// === impl Named ===

impl<'a> Named<'a> {
    fn secret(name: &'a str) -> Self {
        Self { kind: "secret", resource: "secrets", name }
    }

    fn account(name: &'a str) -> Self {
        Self { kind: "service account", resource: "serviceaccounts", name }
    }
}

#[cfg(test)]
mod tests;
