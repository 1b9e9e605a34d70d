//! Who asks the API server about a bundle, and within which bounds.
//!
//! Every request of the operator's says as which ServiceAccount it is made. That is ensured twice: a client can't be made
//! without an account, and the layer below lets no request pass that doesn't carry exactly that account's name: one without
//! it would have the operator's own rights.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;
use tower_service::Service;

use crate::error::{Error, Kind, Result};
use crate::limits::{API_DEADLINE, MAX_OBJECT_ANSWER, MAX_OBJECT_NAME};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
/// What all headers have in their names by which somebody says to be somebody else.
const IMPERSONATE: &str = "impersonate-";

/// A ServiceAccount as which requests are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    namespace: String,
    name: String,
    user: HeaderValue,
}

/// A client whose every request is made as an account.
#[derive(Clone)]
pub struct Impersonated {
    client: Client,
    account: Account,
}

/// Why nothing was sent, or nothing that came is of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// A fault of ours, which would have used our own rights.
    #[error("a request that does not say as whom it is made is not sent")]
    Anonymous,
    /// Nothing came in time.
    #[error("the API server did not answer within {} s", API_DEADLINE.as_secs())]
    Late,
}

/// Names the account in each request.
#[derive(Clone)]
struct Naming {
    below: Guard,
    user: HeaderValue,
}

/// Lets requests of one user pass, and gives each a deadline and its answer a bound.
#[derive(Clone)]
struct Guard {
    client: Client,
    identity: Identity,
}

#[derive(Clone)]
enum Identity {
    /// That of this user, and of nobody else.
    Of(HeaderValue),
    /// The client's own.
    Own,
}

/// A client with bounds, and with the rights of whoever it belongs to: for the command line.
pub(super) fn with_own_rights(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Guard { client, identity: Identity::Own }, namespace)
}

// === impl Account ===

impl Account {
    /// The account of this name in a namespace.
    pub fn new(namespace: &str, name: &str) -> Result<Self> {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        let user = HeaderValue::from_str(&user).ok();
        let user = user.filter(|_| is_subdomain(namespace) && is_subdomain(name));
        let user = user.ok_or_else(|| {
            let message = format!("`{namespace}/{name}` names no service account");
            Error::new(Kind::InvalidOptions, message)
        })?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), user })
    }

    /// Its namespace, which is that of all that is applied.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What Kubernetes calls a DNS subdomain.
fn is_subdomain(name: &str) -> bool {
    let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
    let inner = |c: u8| matches!(c, b'-' | b'.');
    (1..=MAX_OBJECT_NAME).contains(&name.len())
        && name.bytes().all(known)
        && !name.bytes().next().is_some_and(inner)
        && !name.bytes().last().is_some_and(inner)
}

// === impl Impersonated ===

impl Impersonated {
    /// Makes the requests of `client` as `account`, over the same connections.
    pub fn new(client: &Client, account: Account) -> Self {
        let below = Guard { client: client.clone(), identity: Identity::Of(account.user.clone()) };
        let naming = Naming { below, user: account.user.clone() };
        Self { client: Client::new(naming, account.namespace.clone()), account }
    }

    /// As whom requests are made.
    pub fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }
}

// === impl Naming ===

impl Service<Request<Body>> for Naming {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(USER, self.user.clone());
        self.below.call(request)
    }
}

// === impl Guard ===

impl Service<Request<Body>> for Guard {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

impl Guard {
    async fn send(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        if !self.identity.is_that_of(request.headers()) {
            return Err(Fault::Anonymous.into());
        }
        let exchange = async {
            let (head, body) = self.client.send(request).await?.into_parts();
            let body = axum::body::Body::new(body);
            let body = axum::body::to_bytes(body, MAX_OBJECT_ANSWER).await?;
            Ok(Response::from_parts(head, Body::from(body)))
        };
        timeout(API_DEADLINE, exchange).await.unwrap_or_else(|_| Err(Fault::Late.into()))
    }
}

// === impl Identity ===

impl Identity {
    fn is_that_of(&self, headers: &HeaderMap) -> bool {
        let names = headers.keys().filter(|name| name.as_str().starts_with(IMPERSONATE));
        match self {
            Self::Own => names.count() == 0,
            Self::Of(user) => {
                let users: Vec<_> = headers.get_all(USER).iter().collect();
                users == [user] && names.count() == 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use tower::service_fn;

    use super::*;

    /// A client of a server that remembers as whom requests were made.
    fn remembering() -> (Client, Arc<Mutex<Vec<Vec<String>>>>) {
        let seen = Arc::<Mutex<Vec<Vec<String>>>>::default();
        let server = seen.clone();
        let answer = move |request: Request<Body>| {
            let users = request.headers().get_all(USER).iter();
            let users = users.map(|user| user.to_str().unwrap().to_owned()).collect();
            server.lock().unwrap().push(users);
            async { Ok::<_, Infallible>(Response::new(Body::from(b"{}".to_vec()))) }
        };
        (Client::new(service_fn(answer), "default"), seen)
    }

    fn request(headers: &[(&'static str, &'static str)]) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[tokio::test]
    async fn every_request_says_as_whom_it_is_made() {
        let (client, seen) = remembering();
        let account = Account::new("team-a", "deployer").unwrap();
        let impersonated = Impersonated::new(&client, account);
        impersonated.client().send(request(&[])).await.unwrap();
        // Whoever else it claims to be.
        impersonated.client().send(request(&[("impersonate-user", "admin")])).await.unwrap();
        assert_eq!(
            *seen.lock().unwrap(),
            vec![vec!["system:serviceaccount:team-a:deployer".to_owned()]; 2]
        );
    }

    #[tokio::test]
    async fn a_request_of_nobody_or_of_another_is_not_sent() {
        let (client, seen) = remembering();
        let identity = Identity::Of(HeaderValue::from_static("a"));
        let guard = Guard { client: client.clone(), identity };
        for headers in [
            &[][..],
            &[("impersonate-user", "")],
            &[("impersonate-user", "b")],
            &[("impersonate-user", "a"), ("impersonate-user", "b")],
            &[("impersonate-user", "a"), ("impersonate-group", "system:masters")],
        ] {
            let refused = guard.clone().call(request(headers)).await.err();
            let refused = refused.and_then(|error| error.downcast::<Fault>().ok());
            assert!(matches!(refused.as_deref(), Some(Fault::Anonymous)), "{headers:?}");
        }
        let own = with_own_rights(client);
        assert!(own.send(request(&[("impersonate-user", "a")])).await.is_err());
        assert_eq!(seen.lock().unwrap().len(), 0);
        own.send(request(&[])).await.unwrap();
        assert_eq!(seen.lock().unwrap().len(), 1);
    }

    #[test]
    fn an_account_has_a_name() {
        assert!(Account::new("a", "b.c-1").is_ok());
        for (namespace, name) in
            [("", "b"), ("a", ""), ("a", "b:c"), ("a", "b\r\nx: y"), ("a", "-b"), ("A", "b")]
        {
            assert!(Account::new(namespace, name).is_err(), "{namespace} {name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_not_waited_for() {
        let silent = service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let own = with_own_rights(Client::new(silent, "default"));
        let error = own.send(request(&[])).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within 30 s"), "{error}");
    }
}
