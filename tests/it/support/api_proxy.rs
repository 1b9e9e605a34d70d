//! A proxy before the API server that at a certain request falls silent: what was asked for until then has been done, and who
//! asked hears no more of it. Whoever is killed then is killed between these two steps. It can also keep a single request back
//! and go on with the others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{Request, Response, Uri, header};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::control_plane::ControlPlane;

/// Which requests count.
pub(crate) type Counts = fn(&Parts) -> bool;

/// When a request is kept back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before it is done.
    Before,
    /// When it is done, before that is said.
    After,
}

/// A running proxy; it ends when this is dropped.
pub(crate) struct ApiProxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    client: kube::Client,
    silence: Mutex<Option<Silence>>,
    silent: watch::Sender<bool>,
    /// The one request that is to be kept back.
    next: Mutex<Option<(Moment, Counts)>>,
    kept: watch::Sender<bool>,
}

/// When to fall silent.
struct Silence {
    counts: Counts,
    /// How many of those requests are answered still.
    answered: usize,
}

impl ApiProxy {
    /// It passes requests on as they are, with whatever they say of who makes them.
    pub(crate) async fn start(plane: &ControlPlane) -> Self {
        let mut config = plane.config().await;
        config.auth_info = kube::config::AuthInfo::default();
        let client = kube::Client::try_from(config).unwrap();
        let silent = watch::Sender::new(false);
        let (next, kept) = (Mutex::default(), watch::Sender::new(false));
        let shared = Arc::new(Shared { client, silence: Mutex::default(), silent, next, kept });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().fallback(pass).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared, task }
    }

    /// Answers so many more of the requests that count; the next one is done, and that is the last thing that happens.
    pub(crate) fn fall_silent_after(&self, answered: usize, counts: Counts) {
        self.shared.silent.send_replace(false);
        *self.shared.silence.lock().unwrap() = Some(Silence { counts, answered });
    }

    /// Answers everybody.
    pub(crate) fn speak(&self) {
        self.shared.silent.send_replace(false);
        *self.shared.silence.lock().unwrap() = None;
    }

    /// Never answers the next request that counts; all others are answered.
    pub(crate) fn keep_next_back(&self, moment: Moment, counts: Counts) {
        self.shared.kept.send_replace(false);
        *self.shared.next.lock().unwrap() = Some((moment, counts));
    }

    /// Waits until that one is kept back.
    pub(crate) async fn has_kept_back(&self) {
        self.shared.kept.subscribe().wait_for(|kept| *kept).await.unwrap();
    }

    /// Waits until the last thing has happened.
    pub(crate) async fn fell_silent(&self) {
        self.shared.silent.subscribe().wait_for(|silent| *silent).await.unwrap();
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Keeps a request back for ever, if it is the one and this is the moment.
    async fn keep(&self, now: Moment, head: &Parts) {
        let is_it = |(moment, counts): &mut (Moment, Counts)| *moment == now && counts(head);
        let taken = self.next.lock().unwrap().take_if(is_it).is_some();
        if taken {
            self.kept.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    /// Whether this request is the last that is done.
    fn is_last(&self, head: &Parts) -> bool {
        let mut silence = self.silence.lock().unwrap();
        let Some(silence) = silence.as_mut().filter(|silence| (silence.counts)(head)) else {
            return false;
        };
        let last = silence.answered == 0;
        silence.answered = silence.answered.saturating_sub(1);
        last
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    if *shared.silent.borrow() {
        std::future::pending::<()>().await;
    }
    let last = shared.is_last(&head);
    shared.keep(Moment::Before, &head).await;
    let asked = head.clone();
    let body = axum::body::to_bytes(body, 8 << 20).await.unwrap();
    head.uri =
        Uri::builder().path_and_query(head.uri.path_and_query().unwrap().clone()).build().unwrap();
    head.headers.remove(header::HOST);
    let request = Request::from_parts(head, kube::client::Body::from(body.to_vec()));
    let answer = shared.client.send(request).await.unwrap();
    shared.keep(Moment::After, &asked).await;
    if last {
        shared.silent.send_replace(true);
        std::future::pending::<()>().await;
    }
    answer.map(Body::new)
}
