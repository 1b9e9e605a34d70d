//! A registry in this process, for what a real one can't be made to do: it keeps a log of the requests it got, and breaks
//! down as scripted.
//!
//! `store` is the well-behaved part, checked against docker-registry by the same tests; `faults` are the rules by which it
//! misbehaves; `login` asks for credentials.

pub(crate) mod faults;
pub(crate) mod login;
pub(crate) mod quirks;
pub(crate) mod referrers;
mod store;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures::StreamExt as _;
use tokio::task::JoinHandle;

pub(crate) use faults::{Act, Rule};
pub(crate) use login::Login;
pub(crate) use quirks::Quirk;
pub(crate) use referrers::Referrers;
use store::Store;

use super::canary;

/// A running registry that speaks plain HTTP; it ends when this is dropped.
pub(crate) struct Registry {
    /// Host and port.
    pub(crate) host: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// One request as it was received, and the status of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// The path, without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    /// 0 until it is answered, or could be.
    pub(crate) status: u16,
    /// How many bytes of its body were taken.
    pub(crate) bytes: usize,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
struct Shared {
    quirk: Quirk,
    /// Hosts beside each other have one.
    store: Arc<Mutex<Store>>,
    rules: Mutex<Vec<Rule>>,
    login: Mutex<Login>,
    log: Mutex<Vec<Seen>>,
    /// What bodies began with that have not been searched yet.
    bodies: Mutex<Vec<Vec<u8>>>,
    /// The secrets that it may be sent.
    told: Mutex<Vec<String>>,
}

impl Registry {
    /// Starts a registry that lets everybody in.
    pub(crate) async fn start() -> Self {
        Self::start_with("127.0.0.1:0", Quirk::None).await
    }

    /// The same at an address, such as `127.0.0.2:0`.
    pub(crate) async fn start_at(address: &str) -> Self {
        Self::start_with(address, Quirk::None).await
    }

    /// Starts a registry with somebody's habits.
    pub(crate) async fn start_as(quirk: Quirk) -> Self {
        Self::start_with("127.0.0.1:0", quirk).await
    }

    async fn start_with(address: &str, quirk: Quirk) -> Self {
        Self::serve(address, Shared { quirk, ..Shared::default() }).await
    }

    async fn serve(address: &str, shared: Shared) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let shared = Arc::new(shared);
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self { host: address.to_string(), shared, task }
    }

    /// Another host with the same content, and with rules, a log and a login of its own.
    pub(crate) async fn start_beside(&self) -> Self {
        let store = Arc::clone(&self.shared.store);
        Self::serve("127.0.0.1:0", Shared { store, ..Shared::default() }).await
    }

    /// Asks for credentials from now on.
    pub(crate) fn set_login(&self, login: Login) {
        self.shared.told.lock().unwrap().extend(login.passwords());
        *self.shared.login.lock().unwrap() = login;
    }

    /// May be sent this secret, though it lets in nobody who has it.
    pub(crate) fn may_see(&self, secret: &str) {
        self.shared.told.lock().unwrap().push(secret.to_owned());
    }

    /// Fails if a secret was sent here that is for others.
    fn search(&self) {
        let told = self.shared.told.lock().unwrap().clone();
        for body in std::mem::take(&mut *self.shared.bodies.lock().unwrap()) {
            canary::none_is_in("the body of a foreign request", body, &told);
        }
        for Seen { method, path, query, headers, .. } in self.seen() {
            let seen = format!("{method} {path}?{query} {headers:?}");
            canary::none_is_in("a foreign request", seen, &told);
        }
    }

    /// Keeps lists of attachments from now on.
    pub(crate) fn keep_referrers(&self, referrers: Referrers) {
        self.shared.store.lock().unwrap().keep_referrers(referrers);
    }

    /// Forgets the tokens that were given out.
    pub(crate) fn revoke_tokens(&self) {
        self.shared.login.lock().unwrap().revoke();
    }

    /// Misbehaves by this rule, too.
    pub(crate) fn add_rule(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// Behaves from now on.
    pub(crate) fn clear_rules(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// The digest of each tag, by `repository:tag`.
    pub(crate) fn tags(&self) -> std::collections::BTreeMap<String, String> {
        self.shared.store.lock().unwrap().all_tags()
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.log.lock().unwrap().clone()
    }

    /// The requests so far, as `METHOD path status`; forgets them.
    pub(crate) fn take_log(&self) -> Vec<String> {
        self.search();
        let log = std::mem::take(&mut *self.shared.log.lock().unwrap());
        log.iter().map(Seen::to_string).collect()
    }

    /// Bytes of bodies that were taken by requests of this method whose path holds this text.
    pub(crate) fn bytes_taken(&self, method: &str, path: &str) -> usize {
        let seen = self.seen().into_iter();
        let matching = seen.filter(|seen| seen.method == method && seen.path.contains(path));
        matching.map(|seen| seen.bytes).sum()
    }

    /// How often each blob was sent, or was about to be, and how often it was taken, by digest.
    pub(crate) fn blobs_sent(&self) -> std::collections::BTreeMap<String, (usize, usize)> {
        let mut sent = std::collections::BTreeMap::new();
        for seen in self.seen() {
            let digest = seen.argument("digest").filter(|_| seen.method == Method::PUT);
            if let Some(digest) = digest {
                let (tried, taken): &mut (usize, usize) = sent.entry(digest).or_default();
                *tried += 1;
                *taken += usize::from(seen.status == 201);
            }
        }
        sent
    }

    /// How many upload sessions are open.
    pub(crate) fn open_sessions(&self) -> usize {
        self.shared.store.lock().unwrap().open_sessions()
    }

    /// Waits until a request has been received whose line starts so.
    pub(crate) async fn received(&self, start: &str) {
        for _ in 0..1000 {
            if self.seen().iter().any(|seen| seen.to_string().starts_with(start)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no request `{start}` came: {:?}", self.take_log());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.search();
        }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.method, self.path, self.status)
    }
}

impl Seen {
    /// The value of `Authorization`, if it was sent.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.headers.get(AUTHORIZATION)?.to_str().ok()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let seen = Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        status: 0,
        bytes: 0,
        headers: request.headers().clone(),
    };
    let at = {
        let mut log = shared.log.lock().unwrap();
        log.push(seen.clone());
        log.len() - 1
    };
    let act = faults::find(&mut shared.rules.lock().unwrap(), &seen);
    let exchange = Exchange { shared: &shared, seen: &seen, at };
    let response = match act {
        Some(act) if act.replaces() => act.answer(request).await,
        Some(act) => {
            act.hold().await;
            let request = act.cut(request);
            let loses_after = matches!(act, Act::LoseBlobsAfter);
            if matches!(act, Act::LoseBlobs) {
                shared.store.lock().unwrap().lose_blobs();
            }
            let behaved = exchange.behave(request).await;
            if matches!(act, Act::KeepAnswer) {
                // Nobody hears of it.
                exchange.note(|seen| seen.status = behaved.status().as_u16());
            }
            let response = act.spoil(behaved).await;
            if loses_after {
                shared.store.lock().unwrap().lose_blobs();
            }
            response
        }
        None => exchange.behave(request).await,
    };
    exchange.note(|seen| seen.status = response.status().as_u16());
    response
}

/// How much of each body is searched for secrets.
const SEARCHED: usize = 1 << 20;

/// A request that is being answered.
struct Exchange<'a> {
    shared: &'a Shared,
    seen: &'a Seen,
    /// Its place in the log.
    at: usize,
}

impl Exchange<'_> {
    async fn behave(&self, request: Request) -> Response {
        let (shared, seen) = (self.shared, self.seen);
        let host = seen.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if seen.path == "/token" {
            let body = axum::body::to_bytes(request.into_body(), 1 << 16).await.unwrap_or_default();
            shared.bodies.lock().unwrap().push(body.to_vec());
            return shared.login.lock().unwrap().token(seen, &body);
        }
        if let Some(refused) = shared.login.lock().unwrap().refuse(seen, host) {
            return refused;
        }
        let drops = {
            let mut store = shared.store.lock().unwrap();
            let refused = shared.quirk.refuse(seen, &mut store);
            let misplaced = |store: &Store| {
                store.begin(seen).map(|refused| shared.quirk.misplaced(seen, store, refused))
            };
            if let Some(refused) = refused.or_else(|| misplaced(&store)) {
                faults::drain(request);
                return refused;
            }
            shared.quirk.drops(seen, &store)
        };
        let (mut body, mut kept) = (Vec::new(), Kept { shared, start: vec![] });
        let mut stream = request.into_body().into_data_stream();
        while let Some(chunk) = stream.next().await {
            let Ok(chunk) = chunk else { return status(StatusCode::BAD_REQUEST) };
            self.note(|seen| seen.bytes += chunk.len());
            kept.keep(&chunk);
            if drops {
                continue;
            }
            if !shared.store.lock().unwrap().receive(seen, &chunk) {
                body.extend_from_slice(&chunk);
            }
        }
        let answer = shared.store.lock().unwrap().answer(seen, &body.into());
        shared.quirk.bend(seen, answer)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        if let Some(entry) = self.shared.log.lock().unwrap().get_mut(self.at) {
            change(entry);
        }
    }
}

/// The beginning of a body, which is searched even if the rest never comes.
struct Kept<'a> {
    shared: &'a Shared,
    start: Vec<u8>,
}

impl Kept<'_> {
    fn keep(&mut self, chunk: &[u8]) {
        let room = SEARCHED.saturating_sub(self.start.len());
        self.start.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.shared.bodies.lock().unwrap().push(std::mem::take(&mut self.start));
    }
}

/// An answer without a body.
pub(crate) fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The specification's error document.
pub(crate) fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}
