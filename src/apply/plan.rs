//! From a bundle to what is sent to the API server. Pure: says of everything that may not be applied why, before anything is.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ApiResource;
use serde_json::{Map, Value, json};

use super::kinds::Served;
use super::policy::{Policy, Verdict};
use super::refusal::some_of;
use super::{MANAGED_BY_LABEL, OWNER_LABEL, annotations};
use crate::bundle::{Bundle, Object, ObjectKey};
use crate::error::{Error, Kind, Result};

/// How the kinds of a bundle are served, by version and kind; `None` for one that isn't.
pub(super) type ServedKinds = BTreeMap<(String, String), Option<Served>>;

/// An object as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) key: ObjectKey,
    pub(super) resource: ApiResource,
    pub(super) content: Value,
}

/// Refuses kinds that may not be applied, other namespaces, and objects that are the same one there. Returns the kinds that
/// may be applied only if a definition makes them.
pub(super) fn judge(
    bundle: &Bundle,
    namespace: &str,
    policy: &Policy,
) -> Result<BTreeSet<(String, String)>> {
    let (mut forbidden, mut invalid) = (Vec::new(), Vec::new());
    let (mut seen, mut only_custom) = (BTreeSet::new(), BTreeSet::new());
    for Object { key, .. } in bundle.objects() {
        match policy.judge(key.group(), &key.kind) {
            Verdict::Refused(reason) => forbidden.push(format!("`{key}`: {reason}")),
            Verdict::IfCustom => {
                only_custom.insert(kind_of(key));
            }
            Verdict::Allowed => {}
        }
        let elsewhere = key.namespace.as_deref().is_some_and(|named| named != namespace);
        if elsewhere {
            invalid.push(format!("`{key}`: it is for another namespace than `{namespace}`"));
        } else if !seen.insert((key.group(), &key.kind, &key.name)) {
            invalid.push(format!("`{key}` occurs twice, with and without its namespace"));
        }
    }
    refuse(&forbidden)?;
    if invalid.is_empty() {
        return Ok(only_custom);
    }
    let error = Error::new(Kind::CustomResourcesInvalid, some_of(&invalid, "; "));
    Err(error.hint("leave the namespace out of the bundle: objects go to that of the ImagePush"))
}

/// Refuses kinds that belong to the whole cluster, and waits for those that aren't served.
pub(super) fn check_scope(served: &ServedKinds) -> Result<()> {
    let named = |(api_version, kind): &(String, String)| format!("`{api_version} {kind}`");
    let of_cluster = served.iter().filter(|(_, it)| it.as_ref().is_some_and(|it| !it.namespaced));
    let of_cluster: Vec<String> = of_cluster
        .map(|(kind, _)| format!("{}: its objects belong to the whole cluster", named(kind)))
        .collect();
    refuse(&of_cluster)?;
    let missing: Vec<String> =
        served.iter().filter(|(_, it)| it.is_none()).map(|(kind, _)| named(kind)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("the cluster does not know the kinds {}", some_of(&missing, ", "));
    let error = Error::new(Kind::CustomResourcesPending, message);
    Err(error.hint("install their definitions; it goes on when they are there"))
}

/// What may not be applied at all.
pub(super) fn refuse(reasons: &[String]) -> Result<()> {
    if reasons.is_empty() {
        return Ok(());
    }
    let message = format!("the bundle may not be applied: {}", some_of(reasons, "; "));
    let error = Error::new(Kind::CustomResourcesForbidden, message);
    Err(error.hint("leave these objects out of the image's bundle, or push it without `apply`"))
}

/// What is sent of each object. `owner` is the value of the owner's label; without it, the label is not touched.
pub(super) fn plan(
    bundle: &Bundle,
    namespace: &str,
    owner: Option<&str>,
    served: &ServedKinds,
) -> Result<Vec<Planned>> {
    let planned = bundle.objects().iter().map(|object| {
        let kind = served.get(&kind_of(&object.key)).and_then(Option::as_ref);
        let resource = kind.map(|served| served.resource.clone());
        let resource = resource.ok_or_else(|| Error::internal("a kind was not looked for"))?;
        let content = content(object, namespace, owner)?;
        Ok(Planned { key: object.key.clone(), resource, content })
    });
    planned.collect()
}

/// The kinds of a bundle.
pub(super) fn kinds(bundle: &Bundle) -> BTreeSet<(String, String)> {
    bundle.objects().iter().map(|object| kind_of(&object.key)).collect()
}

fn kind_of(key: &ObjectKey) -> (String, String) {
    (key.api_version.clone(), key.kind.clone())
}

/// An object with its namespace and its owner, and without what could keep it from being deleted.
fn content(object: &Object, namespace: &str, owner: Option<&str>) -> Result<Value> {
    let mut content = object.content.clone();
    let Some(Value::Object(metadata)) = content.get_mut("metadata") else {
        return Err(Error::internal("an object has no metadata"));
    };
    annotations::check(metadata)
        .map_err(|error| error.doing(format!("planning `{}`", object.key)))?;
    metadata.remove("finalizers");
    metadata.insert("namespace".into(), json!(namespace));
    set_owner(metadata, owner)
        .map_err(|error| error.doing(format!("planning `{}`", object.key)))?;
    Ok(Value::Object(content))
}

fn set_owner(metadata: &mut Map<String, Value>, owner: Option<&str>) -> Result<()> {
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    let Value::Object(entries) = labels else {
        let error = Error::new(Kind::CustomResourcesInvalid, "`metadata.labels` is no map");
        return Err(error.hint("correct it in the image"));
    };
    // Nobody is an owner by saying so.
    entries.remove(OWNER_LABEL);
    if let Some(owner) = owner {
        entries.insert(OWNER_LABEL.into(), json!(owner));
        let (label, us) = MANAGED_BY_LABEL;
        entries.entry(label).or_insert_with(|| json!(us));
    }
    if entries.is_empty() {
        metadata.remove("labels");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(objects: &[Value]) -> Bundle {
        let documents = objects.iter().map(|object| format!("---\n{object}\n"));
        Bundle::parse(documents.collect::<String>().as_bytes()).unwrap()
    }

    fn thing(metadata: &Value) -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata, "spec": {"a": 1}})
    }

    fn served(namespaced: bool) -> Served {
        let resource = ApiResource {
            group: "example.com".into(),
            version: "v1".into(),
            api_version: "example.com/v1".into(),
            kind: "Thing".into(),
            plural: "things".into(),
        };
        Served { resource, namespaced }
    }

    fn told(objects: &[Value]) -> (Kind, String) {
        let error = judge(&bundle(objects), "team", &Policy::default()).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn all_that_may_not_be_applied_is_told_at_once() {
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "a"}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}});
        let elsewhere = thing(&json!({"name": "c", "namespace": "kube-system"}));
        assert_eq!(
            told(&[binding, elsewhere.clone(), secret, thing(&json!({"name": "d"}))]),
            (
                Kind::CustomResourcesForbidden,
                "the bundle may not be applied: `rbac.authorization.k8s.io/v1 ClusterRoleBinding a`: it gives rights; \
                 `v1 Secret b`: an image is no place for secrets"
                    .to_owned()
            )
        );
        assert_eq!(
            told(&[elsewhere]),
            (
                Kind::CustomResourcesInvalid,
                "`example.com/v1 Thing kube-system/c`: it is for another namespace than `team`"
                    .to_owned()
            )
        );
        let twice = [json!({"name": "c", "namespace": "team"}), json!({"name": "c"})];
        assert_eq!(
            told(&twice.map(|metadata| thing(&metadata))),
            (
                Kind::CustomResourcesInvalid,
                "`example.com/v1 Thing team/c` occurs twice, with and without its namespace"
                    .to_owned()
            )
        );
        let good = bundle(&[thing(&json!({"name": "c"}))]);
        let kind = ("example.com/v1".to_owned(), "Thing".to_owned());
        assert_eq!(judge(&good, "team", &Policy::default()).unwrap(), [kind].into());
    }

    #[test]
    fn what_is_not_served_is_waited_for() {
        let kind = |name: &str| ("example.com/v1".to_owned(), name.to_owned());
        let found = |entries: Vec<(&str, Option<Served>)>| {
            let entries = entries.into_iter().map(|(name, served)| (kind(name), served));
            check_scope(&entries.collect()).map_err(|error| (error.kind(), error.to_string()))
        };
        assert_eq!(found(vec![("Thing", Some(served(true)))]), Ok(()));
        assert_eq!(
            found(vec![("Thing", Some(served(true))), ("Other", None)]),
            Err((
                Kind::CustomResourcesPending,
                "the cluster does not know the kinds `example.com/v1 Other`".to_owned()
            ))
        );
        assert_eq!(
            found(vec![("Thing", Some(served(false))), ("Other", None)]),
            Err((
                Kind::CustomResourcesForbidden,
                "the bundle may not be applied: `example.com/v1 Thing`: its objects belong to the whole cluster"
                    .to_owned()
            ))
        );
    }

    #[test]
    fn an_object_gets_its_namespace_and_its_owner() {
        let object = thing(&json!({
            "name": "a", "finalizers": ["example.com/keep"],
            "labels": {"app": "x", OWNER_LABEL: "somebody"},
        }));
        let kinds = ServedKinds::from([(
            ("example.com/v1".to_owned(), "Thing".to_owned()),
            Some(served(true)),
        )]);
        let sent =
            |owner| plan(&bundle(std::slice::from_ref(&object)), "team", owner, &kinds).unwrap();
        let expected =
            |labels: Value| thing(&json!({"name": "a", "namespace": "team", "labels": labels}));
        let (managed_by, us) = MANAGED_BY_LABEL;
        let labels = json!({"app": "x", OWNER_LABEL: "web", managed_by: us});
        assert_eq!(sent(Some("web"))[0].content, expected(labels));
        assert_eq!(sent(None)[0].content, expected(json!({"app": "x"})));
        let broken = bundle(&[thing(&json!({"name": "a", "labels": "x"}))]);
        let error = plan(&broken, "team", Some("web"), &kinds).unwrap_err();
        assert_eq!(
            error.to_string(),
            "planning `example.com/v1 Thing a`: `metadata.labels` is no map"
        );
    }
}
