//! Deletes an object that has run once when its time is over.

use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt as _};

use crate::api::v1alpha1::ImagePush;

/// Deletes an object as it was looked at. `false` if it has changed since, or does so in this moment: an edit, or a request for
/// another attempt, must not go with it.
pub(crate) async fn delete(api: &Api<ImagePush>, object: &ImagePush) -> Result<bool, kube::Error> {
    let name = object.name_any();
    let Some(found) = api.get_metadata_opt(&name).await? else { return Ok(true) };
    if found.uid() != object.uid() {
        return Ok(true);
    }
    let generation = found.metadata.generation == object.metadata.generation;
    if !generation || found.annotations() != object.annotations() {
        return Ok(false);
    }
    let preconditions =
        Preconditions { uid: object.uid(), resource_version: found.resource_version() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&name, &parameters).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(true),
        Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(false),
        deleted => deleted.map(|_| true),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use axum::body::{Body, to_bytes};
    use axum::http::{Method, Request, Response};
    use kube::Client;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// An API server that has one object, and answers to a deletion with this status; and what deletions were to hold for.
    fn server(metadata: Value, code: u16) -> (Client, Arc<Mutex<Vec<Value>>>) {
        let deletions = Arc::<Mutex<Vec<Value>>>::default();
        let seen = deletions.clone();
        let answer = move |request: Request<kube::client::Body>| {
            let (seen, metadata) = (seen.clone(), metadata.clone());
            async move {
                let (code, body) = if request.method() == Method::DELETE {
                    let sent = to_bytes(Body::new(request.into_body()), 1 << 20).await.unwrap();
                    let sent: Value = serde_json::from_slice(&sent).unwrap();
                    seen.lock().unwrap().push(sent["preconditions"].clone());
                    (code, json!({"kind": "Status", "apiVersion": "v1", "code": code}))
                } else {
                    let kind = ("PartialObjectMetadata", "meta.k8s.io/v1");
                    (200, json!({"kind": kind.0, "apiVersion": kind.1, "metadata": metadata}))
                };
                let body = Body::from(body.to_string());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        };
        (Client::new(service_fn(answer), "n"), deletions)
    }

    fn metadata(changes: &Value) -> Value {
        let mut metadata = json!({
            "name": "x", "namespace": "n", "uid": "u", "generation": 1, "resourceVersion": "7",
            "annotations": {"imagepush.dev/requestedAt": "1"},
        });
        metadata.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        metadata
    }

    #[tokio::test]
    async fn what_has_changed_since_it_was_looked_at_stays() {
        let side = |name: &str| json!({"reference": format!("docker://{name}.example/x:1")});
        let object: ImagePush = serde_json::from_value(json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": metadata(&json!({"resourceVersion": "5"})),
            "spec": {"source": side("a"), "destination": side("b"), "runPolicy": "Once"},
        }))
        .unwrap();
        let sent = || vec![json!({"uid": "u", "resourceVersion": "7"})];
        for (changes, answer, expected, deletions) in [
            // Only its status has changed, which we wrote.
            (json!({}), 200, true, sent()),
            // Gone already; changed in that moment.
            (json!({}), 404, true, sent()),
            (json!({}), 409, false, sent()),
            (json!({"generation": 2}), 200, false, vec![]),
            (json!({"annotations": {"imagepush.dev/requestedAt": "2"}}), 200, false, vec![]),
            // Another one of the same name.
            (json!({"uid": "v"}), 200, true, vec![]),
        ] {
            let (client, deleted) = server(metadata(&changes), answer);
            let api = Api::namespaced(client, "n");
            assert_eq!(delete(&api, &object).await.unwrap(), expected, "{changes} {answer}");
            assert_eq!(*deleted.lock().unwrap(), deletions, "{changes} {answer}");
        }
    }
}
