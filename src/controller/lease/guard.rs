//! Requests that change something in the cluster are sent only while the lease is held.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tower_service::Service;

use super::Leadership;
use crate::engine::StillWanted as _;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client of an operator that may have been replaced.
#[derive(Clone)]
struct Guarded {
    client: Client,
    leadership: Leadership,
}

/// The same client, which reads always, and writes while the lease is held.
pub(crate) fn while_leading(client: Client, leadership: Leadership) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Guarded { client, leadership }, namespace)
}

// === impl Guarded ===

impl Service<Request<Body>> for Guarded {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { client, leadership } = self.clone();
        Box::pin(async move {
            if request.method() != Method::GET {
                leadership.check().await?;
            }
            Ok(client.send(request).await?)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;
    use crate::limits::LEASE_GIVE_UP;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_without_the_lease() {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let server = service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
        let leadership = Leadership::until(Instant::now() + LEASE_GIVE_UP);
        let client = while_leading(Client::new(server, "n"), leadership.clone());
        let send = async |method: &str| {
            let request = Request::builder().method(method).uri("/api/v1/x").body(Body::empty());
            client.send(request.unwrap()).await.map(drop).map_err(|error| error.to_string())
        };
        for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
            send(method).await.unwrap();
        }
        leadership.end();
        send("GET").await.unwrap();
        for method in ["POST", "PATCH", "PUT", "DELETE"] {
            let refusal = send(method).await.unwrap_err();
            assert!(refusal.contains("the operator has lost its lease"), "{method}: {refusal}");
        }
        assert_eq!(requests.load(Ordering::Relaxed), 6);
    }
}
