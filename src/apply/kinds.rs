//! How the API server serves a kind: under which path, whether in namespaces, and whether a CustomResourceDefinition defines it.
//!
//! Asked for by version of a group, which is a small answer, and remembered for a while. A kind that isn't known is asked for
//! anew each time: its definition may have come.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource, APIResourceList};
use kube::api::ApiResource;
use kube::{Api, Client};
use tokio::time::Instant;

use super::client::{Impersonated, with_own_rights};
use super::refusal;
use crate::error::{Error, Kind, Result};
use crate::limits::{KINDS_TTL, MAX_KNOWN_VERSIONS, MAX_OBJECT_NAME};

/// What is known of the kinds of a cluster. Shared by all who apply there: what is served is no secret of anybody's.
pub struct Kinds {
    /// The operator's own client; asked for definitions only, which tells what discovery tells everybody.
    own: Client,
    versions: Mutex<HashMap<String, (Instant, Vec<Served>)>>,
    definitions: Mutex<HashMap<String, Instant>>,
}

/// A kind as it is served.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Served {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
}

// === impl Kinds ===

impl Kinds {
    /// Knows nothing yet.
    pub fn new(own: &Client) -> Self {
        let own = with_own_rights(own.clone());
        Self { own, versions: Mutex::default(), definitions: Mutex::default() }
    }

    /// How a kind is served, as `who` is told; `None` if it isn't.
    pub(super) async fn find(
        &self,
        who: &Impersonated,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Served>> {
        let known = remembered(&self.versions, api_version).unwrap_or_default();
        if let Some(served) = known.into_iter().find(|served| served.resource.kind == kind) {
            return Ok(Some(served));
        }
        let list = served_by(who.client(), api_version).await?;
        remember(&self.versions, api_version, list.clone());
        Ok(list.into_iter().find(|served| served.resource.kind == kind))
    }

    /// How a kind is served in whatever version of its group; `None` if it isn't.
    pub(super) async fn find_in_group(
        &self,
        who: &Impersonated,
        group: &str,
        kind: &str,
    ) -> Result<Option<Served>> {
        for version in versions(who.client(), group).await? {
            if let Some(served) = self.find(who, &version, kind).await? {
                return Ok(Some(served));
            }
        }
        Ok(None)
    }

    /// Asks for these versions anew when they are needed next.
    pub(super) fn forget(&self, api_versions: impl Iterator<Item = String>) {
        let mut known = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        api_versions.for_each(|version| drop(known.remove(&version)));
    }

    /// Whether a CustomResourceDefinition defines it.
    pub(super) async fn is_custom(&self, resource: &ApiResource) -> Result<bool> {
        let name = format!("{}.{}", resource.plural, resource.group);
        if is_fresh(&self.definitions, &name) {
            return Ok(true);
        }
        let api: Api<CustomResourceDefinition> = Api::all(self.own.clone());
        let found = api.get_metadata_opt(&name).await.map_err(|cause| {
            let what = format!("the definition of `{name}`");
            refusal::of_definition(&what, &cause)
        })?;
        if found.is_some() {
            let mut definitions = self.definitions.lock().unwrap_or_else(PoisonError::into_inner);
            make_room(&mut definitions);
            definitions.insert(name, Instant::now() + KINDS_TTL);
        }
        Ok(found.is_some())
    }
}

/// What the API server serves of a version of a group; nothing if it doesn't know it.
pub(super) async fn served_by(client: &Client, api_version: &str) -> Result<Vec<Served>> {
    let asked = if api_version.contains('/') {
        client.list_api_group_resources(api_version).await
    } else {
        client.list_core_api_resources(api_version).await
    };
    match asked {
        Ok(list) => read(api_version, list),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(vec![]),
        Err(cause) => Err(refusal::of_kinds(api_version, &cause)),
    }
}

/// The versions of a group that are served, the preferred one first.
async fn versions(client: &Client, group: &str) -> Result<Vec<String>> {
    // It becomes a part of a path.
    if group.is_empty() || !is_part_of_path(group) {
        return Ok(vec![]);
    }
    let request = Request::get(format!("/apis/{group}")).body(vec![]);
    let request = request.map_err(|cause| Error::internal(cause.to_string()))?;
    let found: APIGroup = match client.request(request).await {
        Ok(found) => found,
        Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(vec![]),
        Err(cause) => return Err(refusal::of_kinds(group, &cause)),
    };
    let versions = found.preferred_version.into_iter().chain(found.versions);
    Ok(versions.map(|version| format!("{group}/{}", version.version)).collect())
}

fn is_part_of_path(name: &str) -> bool {
    (1..=MAX_OBJECT_NAME).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.".contains(&c))
}

fn read(api_version: &str, list: APIResourceList) -> Result<Vec<Served>> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let objects = list.resources.into_iter().filter(|it| !it.name.contains('/'));
    let served = |APIResource { name, kind, namespaced, .. }: APIResource| {
        // It becomes a part of a path.
        if !is_part_of_path(&name) {
            let message = format!("the API server says that `{kind}` is served as `{name}`");
            return Err(Error::new(Kind::CustomResourcesInvalid, message));
        }
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: api_version.to_owned(),
            kind,
            plural: name,
        };
        Ok(Served { resource, namespaced })
    };
    objects.map(served).collect()
}

fn remembered<T: Clone>(memory: &Mutex<HashMap<String, (Instant, T)>>, key: &str) -> Option<T> {
    let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    memory.get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, value)| value.clone())
}

fn remember<T>(memory: &Mutex<HashMap<String, (Instant, T)>>, key: &str, value: T) {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    make_room(&mut memory);
    memory.insert(key.to_owned(), (Instant::now() + KINDS_TTL, value));
}

fn is_fresh(memory: &Mutex<HashMap<String, Instant>>, key: &str) -> bool {
    let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    memory.get(key).is_some_and(|until| *until > Instant::now())
}

/// Bundles name versions; whoever names many makes us forget the others, and costs requests.
fn make_room<T>(memory: &mut HashMap<String, T>) {
    if memory.len() >= MAX_KNOWN_VERSIONS {
        memory.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use axum::http::Response;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::super::client::Account;
    use super::*;

    fn list(resources: &Value) -> APIResourceList {
        let list = json!({"kind": "APIResourceList", "groupVersion": "example.com/v1", "resources": resources});
        serde_json::from_value(list).unwrap()
    }

    fn resource(name: &str, kind: &str, namespaced: bool) -> Value {
        json!({"name": name, "kind": kind, "namespaced": namespaced, "singularName": "", "verbs": ["get"]})
    }

    #[test]
    fn subresources_are_no_kinds() {
        let things = [resource("things", "Thing", true), resource("things/status", "Thing", true)];
        let found = read("example.com/v1", list(&json!(things))).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|it| {
                let ApiResource { group, version, api_version, kind, plural } = &it.resource;
                let parts = [group, version, api_version, kind, plural].map(String::as_str);
                (parts.join(" "), it.namespaced)
            })
            .collect();
        assert_eq!(shown, [("example.com v1 example.com/v1 Thing things".to_owned(), true)]);
        assert_eq!(read("v1", list(&json!([]))).unwrap(), []);
    }

    #[test]
    fn a_name_that_is_no_part_of_a_path_is_refused() {
        for name in ["", "..?x=1", "a b", "a%2fb"] {
            let error = read("example.com/v1", list(&json!([resource(name, "Thing", true)])));
            assert_eq!(error.unwrap_err().kind(), Kind::CustomResourcesInvalid, "{name}");
        }
    }

    /// A cluster that serves one kind, by a definition, and the paths that it is asked for.
    fn cluster() -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&asked);
        let serve = move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let answer = if path.ends_with("/v1") && path.contains("example.com") {
                let things = [resource("things", "Thing", true)];
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "example.com/v1", "resources": things})
            } else {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "things.example.com"}})
            };
            seen.lock().unwrap().push(path);
            async move {
                Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        };
        (Client::new(service_fn(serve), "default"), asked)
    }

    /// What is known is asked for again after a while, and at once where it is to be forgotten or isn't known.
    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_not_asked_for_again() {
        let (client, asked) = cluster();
        let kinds = Kinds::new(&client);
        let who = Impersonated::new(&client, Account::new("team", "deployer").unwrap());
        let (group, definition) = (
            "/apis/example.com/v1",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com",
        );
        let look = async |kind: &str| {
            let found = kinds.find(&who, "example.com/v1", kind).await.unwrap();
            if let Some(served) = &found {
                assert!(kinds.is_custom(&served.resource).await.unwrap());
            }
            (found.is_some(), std::mem::take(&mut *asked.lock().unwrap()))
        };
        let both = || vec![group.to_owned(), definition.to_owned()];
        assert_eq!(look("Thing").await, (true, both()));
        assert_eq!(look("Thing").await, (true, vec![]));
        assert_eq!(look("Other").await, (false, vec![group.to_owned()]));
        kinds.forget(["example.com/v1".to_owned()].into_iter());
        assert_eq!(look("Thing").await, (true, vec![group.to_owned()]));
        tokio::time::advance(KINDS_TTL).await;
        assert_eq!(look("Thing").await, (true, both()));
    }

    #[test]
    fn memory_has_a_bound_and_an_end() {
        let mut memory: HashMap<String, u8> =
            (0..MAX_KNOWN_VERSIONS).map(|at| (at.to_string(), 0)).collect();
        make_room(&mut memory);
        assert_eq!(memory.len(), 0);
    }
}
