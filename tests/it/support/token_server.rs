//! A token server as the distribution specification describes it, whose tokens docker-registry accepts: JSON Web Tokens,
//! signed by RS256, with the signer's certificate in the header `x5c`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, SigningKey as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::canary;

/// A running token server; it ends when this is dropped.
pub(crate) struct TokenServer {
    /// Where tokens are to be had.
    pub(crate) realm: String,
    /// The certificate that tokens are signed under, PEM.
    pub(crate) certificate: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

/// The name that tokens are issued by, and the one that they are for.
pub(crate) const ISSUER: &str = "test-issuer";
pub(crate) const SERVICE: &str = "test-service";

/// For how many seconds docker-registry takes a token that has expired, since clocks differ.
const LEEWAY: u64 = 60;

struct Shared {
    key: KeyPair,
    certificate: String,
    user: (String, String),
    life: Duration,
    given: Mutex<Vec<String>>,
    /// The requests so far.
    seen: Mutex<Vec<String>>,
    /// The secrets that it may be sent.
    told: Mutex<Vec<String>>,
}

impl TokenServer {
    /// Gives tokens to this user that the registry takes for so long, and that are said to live for five minutes.
    pub(crate) async fn start(user: &str, password: &str, life: Duration) -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let made =
            CertificateParams::new(vec!["signer".to_owned()]).unwrap().self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("signer.pem");
        std::fs::write(&certificate, made.pem()).unwrap();
        let user = (user.to_owned(), password.to_owned());
        let encoded = STANDARD.encode(made.der());
        let (given, seen) = (Mutex::default(), Mutex::default());
        let told = Mutex::new(vec![password.to_owned()]);
        let shared = Shared { key, certificate: encoded, user, life, given, seen, told };
        let shared = Arc::new(shared);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let realm = format!("http://{address}/token");
        Self { realm, certificate, shared, task, _folder: folder }
    }

    /// May be sent this secret, though nobody gets a token for it.
    pub(crate) fn may_see(&self, secret: &str) {
        self.shared.told.lock().unwrap().push(secret.to_owned());
    }

    /// The scopes of each token that was given, in order.
    pub(crate) fn given(&self) -> Vec<String> {
        self.shared.given.lock().unwrap().clone()
    }

    /// What docker-registry is to be told of it.
    pub(crate) fn setup(&self) -> TokenSetup<'_> {
        TokenSetup { realm: &self.realm, certificate: &self.certificate }
    }
}

/// What a registry has to know of a token server.
#[derive(Clone, Copy)]
pub(crate) struct TokenSetup<'a> {
    pub(crate) realm: &'a str,
    pub(crate) certificate: &'a Path,
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.task.abort();
        let Shared { seen, told, .. } = &*self.shared;
        canary::none_was_sent(&seen.lock().unwrap(), &told.lock().unwrap());
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let (method, uri, headers) = (&head.method, &head.uri, &head.headers);
    let body = String::from_utf8_lossy(&body);
    shared.seen.lock().unwrap().push(format!("{method} {uri} {headers:?} {body}"));
    let (user, password) = &shared.user;
    let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let sent = headers.get("authorization").and_then(|value| value.to_str().ok());
    if sent != Some(&expected) {
        return super::registry::refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "who is it");
    }
    let query = uri.query().unwrap_or_default().as_bytes();
    let pairs = url::form_urlencoded::parse(query);
    let scopes: Vec<String> =
        pairs.filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned()).collect();
    shared.given.lock().unwrap().push(scopes.join(" "));
    let answer = json!({"token": shared.token(&scopes), "expires_in": 300});
    Response::new(answer.to_string().into())
}

impl Shared {
    fn token(&self, scopes: &[String]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [self.certificate]});
        let access: Vec<Value> = scopes.iter().filter_map(|scope| access(scope)).collect();
        let claims = json!({
            "iss": ISSUER, "sub": self.user.0, "aud": SERVICE, "jti": format!("{now}"),
            "nbf": now - 2 * LEEWAY, "iat": now, "exp": now + self.life.as_secs() - LEEWAY, "access": access,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn access(scope: &str) -> Option<Value> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').collect();
    Some(json!({"type": "repository", "name": name, "actions": actions}))
}
