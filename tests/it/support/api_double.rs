//! A Kubernetes API server in this process, for what a real one can't be asked for: answers as scripted, watches that end
//! or fall silent, versions that are too old, and paused time.
//!
//! It keeps objects of any kind by path, counts versions, serves lists in pages and watches with what changed since, swaps
//! by `resourceVersion`, takes each apply of a status for the whole status, and of other patches the finalizers. What is
//! deleted is gone at once. It knows no schema, no rights and no managers of fields: those are tested on the real server.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use futures::StreamExt as _;
use futures::channel::mpsc;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::form_urlencoded;

/// The server; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct ApiDouble(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    /// Changes before this version are no longer known to watches.
    oldest: u64,
    objects: BTreeMap<Place, Value>,
    history: Vec<Change>,
    watches: Vec<Watch>,
    log: Vec<Asked>,
    faults: Vec<Fault>,
    /// A status with this field is refused.
    unwelcome: Option<&'static str>,
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Plural of its kind.
    resource: String,
    namespace: String,
    name: String,
}

struct Change {
    version: u64,
    place: Place,
    event: &'static str,
    object: Value,
}

struct Watch {
    resource: String,
    namespace: Option<String>,
    /// Nothing is sent any more, though nobody is told.
    silent: bool,
    lines: mpsc::UnboundedSender<Bytes>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Instant,
    /// Method, resource with subresource, and for a list or a watch, that.
    pub(crate) what: String,
    pub(crate) name: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// What happens instead of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// This answer: a status, headers, and a body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// None, ever.
    Hang,
    /// The answer comes, but only after this.
    Late(Duration),
}

/// Something that goes wrong, and how often.
struct Fault {
    what: String,
    name: Option<String>,
    /// How many such requests get their answer before.
    skipped: usize,
    times: usize,
    act: Act,
}

/// The path of a request, taken apart.
struct Target {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
}

// === impl ApiDouble ===

impl ApiDouble {
    pub(crate) fn new() -> Self {
        let double = Self::default();
        double.state().version = 100;
        double
    }

    /// A client of it, whose own namespace is `home`.
    pub(crate) fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "home")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Makes or changes an ImagePush.
    pub(crate) fn put(&self, name: &str, spec: &Value) {
        let place = Place::new("imagepushes", "n", name);
        let mut state = self.state();
        let known = state.objects.get(&place);
        let generation = known.map_or(0, |old| old["metadata"]["generation"].as_i64().unwrap());
        let uid = known.map_or(json!(format!("{name}-{}", state.version)), |old| {
            old["metadata"]["uid"].clone()
        });
        let status = known.map_or(json!({"observedGeneration": -1}), |old| old["status"].clone());
        let object = json!({
            "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
            "metadata": {"namespace": "n", "name": name, "uid": uid, "generation": generation + 1},
            "spec": spec, "status": status,
        });
        state.write(place, object);
    }

    /// An ImagePush that nothing is to be done for but to say so.
    pub(crate) fn put_suspended(&self, name: &str) {
        let side = |name: &str| json!({"reference": format!("docker://r.example/{name}:1")});
        let (source, destination) = (side("from"), side("to"));
        let spec = json!({"source": source, "destination": destination,
            "runPolicy": "Once", "suspend": true});
        self.put(name, &spec);
    }

    /// Puts any object where it belongs.
    pub(crate) fn write(&self, resource: &str, namespace: &str, name: &str, object: Value) {
        self.state().write(Place::new(resource, namespace, name), object);
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    /// An object as it is; null if it isn't there.
    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Value {
        let place = Place::new(resource, namespace, name);
        self.state().objects.get(&place).cloned().unwrap_or_default()
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.state();
        let all = state.objects.iter().filter(|(place, _)| place.resource == resource);
        all.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn delete(&self, name: &str) {
        self.take("imagepushes", "n", name);
    }

    /// Takes any object away.
    pub(crate) fn take(&self, resource: &str, namespace: &str, name: &str) {
        self.state().remove(&Place::new(resource, namespace, name));
    }

    /// From now on, so many requests of this kind get this instead of an answer.
    pub(crate) fn fail(&self, what: &str, times: usize, act: Act) {
        self.fail_after(what, 0, times, act);
    }

    /// The same, once so many have got their answer.
    pub(crate) fn fail_after(&self, what: &str, skipped: usize, times: usize, act: Act) {
        self.state().faults.push(Fault { what: what.into(), name: None, skipped, times, act });
    }

    /// The same for those about one object.
    pub(crate) fn fail_for(&self, what: &str, name: &str, times: usize, act: Act) {
        let (what, name) = (what.into(), Some(name.into()));
        self.state().faults.push(Fault { what, name, skipped: 0, times, act });
    }

    /// From now on, no status with this field is taken.
    pub(crate) fn refuse_field(&self, field: &'static str) {
        self.state().unwelcome = Some(field);
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    /// Ends every watch, as a server does that stops.
    pub(crate) fn end_watches(&self) {
        self.state().watches.clear();
    }

    /// Every watch that is open stays so, and hears nothing any more.
    pub(crate) fn silence_watches(&self) {
        self.state().watches.iter_mut().for_each(|watch| watch.silent = true);
    }

    /// Forgets what changed: a watch that knows less than the newest is too old.
    pub(crate) fn forget_history(&self) {
        let mut state = self.state();
        state.version += 1;
        state.oldest = state.version;
        state.history.clear();
    }

    /// Goes on from an earlier version, as after a backup was restored: what is written now has versions that watches
    /// believe to have seen.
    pub(crate) fn restore_backup(&self) {
        let mut state = self.state();
        state.watches.clear();
        state.history.clear();
        state.version = 10;
    }

    /// The requests of a kind so far.
    pub(crate) fn asked(&self, what: &str) -> Vec<Asked> {
        self.state().log.iter().filter(|asked| asked.what == what).cloned().collect()
    }

    /// Waits until something holds, for an hour of paused time at most.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..36_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Further attempts are due by the clock on the wall, which nobody can pause.
        for _ in 0..200 {
            tokio::task::spawn_blocking(pass_real_time).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if holds(self) {
                return;
            }
        }
        let log: Vec<String> = self
            .state()
            .log
            .iter()
            .rev()
            .take(30)
            .map(|it| format!("{} {}", it.what, it.name))
            .collect();
        panic!("never: {what}; asked last, newest first: {log:#?}");
    }

    async fn answer(self, request: Request<kube::client::Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap();
        let target = Target::parse(head.uri.path());
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(head.uri.query().unwrap_or("").as_bytes())
                .into_owned()
                .collect();
        let asked = Asked {
            at: Instant::now(),
            what: target.what(head.method.as_str(), &query),
            name: target.name.clone().unwrap_or_default(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            query,
        };
        let act = {
            let mut state = self.state();
            state.log.push(asked.clone());
            state.next_fault(&asked)
        };
        match act {
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Answer(status, headers, body)) => {
                let mut answer = Response::builder().status(status);
                for (name, value) in headers {
                    answer = answer.header(name, value);
                }
                return answer.body(Body::from(body)).unwrap();
            }
            Some(Act::Late(wait)) => tokio::time::sleep(wait).await,
            None => {}
        }
        self.state().serve(head.method.as_str(), &target, asked)
    }
}

impl tower_service::Service<Request<kube::client::Body>> for ApiDouble {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let double = self.clone();
        Box::pin(async move { Ok(double.answer(request).await) })
    }
}

// === impl State ===

impl State {
    fn next_fault(&mut self, asked: &Asked) -> Option<Act> {
        let fits = |fault: &&mut Fault| {
            fault.times > 0
                && fault.what == asked.what
                && fault.name.as_ref().is_none_or(|name| *name == asked.name)
        };
        let fault = self.faults.iter_mut().find(fits)?;
        if fault.skipped > 0 {
            fault.skipped -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.act.clone())
    }

    fn serve(&mut self, method: &str, target: &Target, asked: Asked) -> Response<Body> {
        let place = target.place();
        match (method, place) {
            ("GET", None) if asked.query.get("watch").is_some_and(|it| it == "true") => {
                self.watch(target, &asked)
            }
            ("GET", None) => self.list(target, &asked),
            ("GET", Some(place)) => match self.objects.get(&place) {
                Some(object) => answer(200, object),
                None => refusal(404, "NotFound"),
            },
            ("POST", None) => {
                let name = asked.body["metadata"]["name"].as_str().unwrap_or("").to_owned();
                let namespace = target.namespace.clone().unwrap_or_default();
                let place = Place { resource: target.resource.clone(), namespace, name };
                if self.objects.contains_key(&place) {
                    return refusal(409, "AlreadyExists");
                }
                let mut object = asked.body;
                object["metadata"]["uid"] = json!(format!("{}-{}", place.name, self.version));
                object["metadata"]["creationTimestamp"] = json!(jiff::Timestamp::now().to_string());
                answer(201, &self.write(place, object))
            }
            ("DELETE", Some(place)) => {
                let Some(old) = self.objects.get(&place) else { return refusal(404, "NotFound") };
                let wanted = &asked.body["preconditions"]["uid"];
                if !wanted.is_null() && *wanted != old["metadata"]["uid"] {
                    return refusal(409, "Conflict");
                }
                let old = old.clone();
                self.remove(&place);
                answer(200, &old)
            }
            ("PUT", Some(place)) => {
                let Some(old) = self.objects.get(&place) else { return refusal(404, "NotFound") };
                let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
                if version(old) != version(&asked.body) {
                    return refusal(409, "Conflict");
                }
                answer(200, &self.write(place, asked.body))
            }
            ("PATCH", Some(place)) => self.patch(place, target.subresource.as_deref(), &asked.body),
            _ => refusal(405, "MethodNotAllowed"),
        }
    }

    fn patch(&mut self, place: Place, below: Option<&str>, patch: &Value) -> Response<Body> {
        let Some(old) = self.objects.get(&place) else { return refusal(404, "NotFound") };
        let is_another = |field: &str| {
            let wanted = &patch["metadata"][field];
            !wanted.is_null() && *wanted != old["metadata"][field]
        };
        if is_another("uid") || is_another("resourceVersion") {
            return refusal(409, "Conflict");
        }
        let mut object = old.clone();
        let finalizers = &patch["metadata"]["finalizers"];
        if below == Some("status") {
            if self.unwelcome.is_some_and(|field| !patch["status"][field].is_null()) {
                return refusal(422, "Invalid");
            }
            object["status"] = patch["status"].clone();
        } else if !finalizers.is_null() {
            object["metadata"]["finalizers"] = finalizers.clone();
        }
        if object == *old {
            return answer(200, &object);
        }
        let deleted = !object["metadata"]["deletionTimestamp"].is_null();
        if deleted && finalizers.as_array().is_some_and(Vec::is_empty) {
            self.remove(&place);
            return answer(200, &object);
        }
        answer(200, &self.write(place, object))
    }

    fn list(&self, target: &Target, asked: &Asked) -> Response<Body> {
        let limit = asked.query.get("limit").map_or(usize::MAX, |it| it.parse().unwrap());
        let from = asked.query.get("continue").map_or(0, |it| it.parse::<usize>().unwrap());
        let all: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(place, object)| target.covers(place) && is_selected(object, asked))
            .map(|(_, object)| object)
            .collect();
        let page: Vec<&Value> = all.iter().skip(from).take(limit).copied().collect();
        let more = from + page.len() < all.len();
        let next = if more { (from + page.len()).to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": self.version.to_string(), "continue": next});
        answer(
            200,
            &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page}),
        )
    }

    fn watch(&mut self, target: &Target, asked: &Asked) -> Response<Body> {
        let since: u64 = asked.query["resourceVersion"].parse().unwrap();
        let (lines, received) = mpsc::unbounded();
        if since < self.oldest {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": 410, "reason": "Expired", "message": "too old resource version"});
            let _ = lines.unbounded_send(line("ERROR", &status));
        } else {
            for change in &self.history {
                if change.version > since && target.covers(&change.place) {
                    let _ = lines.unbounded_send(line(change.event, &change.object));
                }
            }
            self.watches.push(Watch {
                resource: target.resource.clone(),
                namespace: target.namespace.clone(),
                silent: false,
                lines,
            });
        }
        let body = Body::from_stream(received.map(Ok::<_, std::convert::Infallible>));
        Response::builder().header("content-type", "application/json").body(body).unwrap()
    }

    fn write(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let event = if self.objects.contains_key(&place) { "MODIFIED" } else { "ADDED" };
        self.objects.insert(place.clone(), object.clone());
        self.tell(place, event, object.clone());
        object
    }

    fn remove(&mut self, place: &Place) {
        let Some(mut object) = self.objects.remove(place) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell(place.clone(), "DELETED", object);
    }

    fn tell(&mut self, place: Place, event: &'static str, object: Value) {
        for watch in self.watches.iter().filter(|watch| !watch.silent) {
            let wanted = watch.namespace.as_ref().is_none_or(|it| *it == place.namespace);
            if wanted && watch.resource == place.resource {
                let _ = watch.lines.unbounded_send(line(event, &object));
            }
        }
        self.history.push(Change { version: self.version, place, event, object });
    }
}

/// Whether an object has the labels that are asked for.
fn is_selected(object: &Value, asked: &Asked) -> bool {
    let wanted = asked.query.get("labelSelector").map_or("", String::as_str);
    let labels = &object["metadata"]["labels"];
    wanted.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((label, value)) => labels[label] == value,
        None => !labels[term].is_null(),
    })
}

fn line(event: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": event, "object": object})))
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Body::from(body.to_string())).unwrap()
}

fn refusal(status: u16, reason: &str) -> Response<Body> {
    answer(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": status, "reason": reason, "message": format!("scripted: {reason}")}),
    )
}

// === impl Place ===

impl Place {
    fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

// === impl Target ===

impl Target {
    /// Takes `/api/v1/…` and `/apis/GROUP/VERSION/…` apart.
    fn parse(path: &str) -> Self {
        let mut parts = path.split('/').skip(1);
        let groups = if parts.next() == Some("api") { 1 } else { 2 };
        let mut rest = parts.skip(groups).map(str::to_owned).peekable();
        let mut namespace = None;
        if rest.peek().is_some_and(|part| part == "namespaces") {
            rest.next();
            namespace = rest.next();
        }
        let resource = rest.next().unwrap_or_default();
        Self { resource, namespace, name: rest.next(), subresource: rest.next() }
    }

    fn what(&self, method: &str, query: &BTreeMap<String, String>) -> String {
        let method = match method {
            "GET" if self.name.is_some() => "GET",
            "GET" if query.get("watch").is_some_and(|it| it == "true") => "WATCH",
            "GET" => "LIST",
            method => method,
        };
        let below = self.subresource.as_ref().map_or(String::new(), |it| format!("/{it}"));
        format!("{method} {}{below}", self.resource)
    }

    fn place(&self) -> Option<Place> {
        let namespace = self.namespace.clone().unwrap_or_default();
        Some(Place { resource: self.resource.clone(), namespace, name: self.name.clone()? })
    }

    fn covers(&self, place: &Place) -> bool {
        place.resource == self.resource
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == place.namespace)
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, and time that is not paused")]
fn pass_real_time() {
    std::thread::sleep(Duration::from_millis(100));
}
