//! Wherever registries send us: no credential ever reaches another origin than its own.
//!
//! Three real servers answer by chance: challenges with realms, redirects, addresses of sessions, links to next pages, each
//! leading anywhere in any spelling. A seed decides everything, so a failure can be had again. In some worlds one of the
//! others takes uploads by the user's word, with or without credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use imagepush::access::{
    Access, Credential, Credentials, Elsewhere, Network, NetworkSettings, Secret,
};
use imagepush::blob::Blob;
use imagepush::transport::{BlobKind, Repository, Role};

use super::harness::*;
use crate::support::canary::Canary;

/// How many worlds are tried.
const SEEDS: u64 = 60;

/// The origin that the user names; another name; and the first one's address with another port.
const HOME: usize = 0;
const STRANGER: usize = 1;
const NEIGHBOUR: usize = 2;

struct World {
    hosts: [String; 3],
    state: Mutex<Chance>,
}

/// What decides about the answers, and what was asked.
#[derive(Default)]
struct Chance {
    seed: u64,
    asked: HashMap<String, u64>,
    log: Vec<Asked>,
    token: String,
}

struct Asked {
    origin: usize,
    path: String,
    writes: bool,
    /// Everything of it, for the search.
    text: String,
    authorization: Option<String>,
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }
}

impl World {
    async fn start() -> Arc<Self> {
        let mut listeners = vec![];
        for _ in 0..3 {
            listeners.push(tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap());
        }
        let host = |at: usize| listeners[at].local_addr().unwrap().to_string();
        let hosts = [host(HOME), host(STRANGER).replace("127.0.0.1", "localhost"), host(NEIGHBOUR)];
        let world = Arc::new(Self { hosts, state: Mutex::default() });
        for (origin, listener) in listeners.into_iter().enumerate() {
            let router = Router::new().fallback(answer).with_state((origin, Arc::clone(&world)));
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        }
        world
    }

    /// An address in some spelling.
    fn address(&self, dice: &mut Dice, path: &str) -> String {
        let host = &self.hosts[dice.roll(3)];
        match dice.roll(12) {
            0 => path.to_owned(),
            1 => format!("//{host}{path}"),
            2 => format!("http://mallory:pw@{host}{path}"),
            3 => format!("https://{host}{path}"),
            4 => format!("ftp://{host}{path}"),
            5 => format!("http://{}{path}#fragment", host.replace("127.0.0.1", "0x7f.1")),
            6 => format!("HTTP:\\\\{}{path}", host.replace("localhost", "LOCALHOST")),
            _ => format!("http://{host}{path}"),
        }
    }

    fn challenge(&self, origin: usize, dice: &mut Dice) -> String {
        let number = dice.roll(9);
        let realm = self.address(dice, &format!("/realm/{origin}/{number}"));
        match dice.roll(6) {
            0 => "Basic realm=\"x\"".to_owned(),
            1 => format!(
                "Bearer realm=\"{realm}\",error=\"insufficient_scope\",scope=\"repository:app:delete\""
            ),
            2 => format!("Negotiate, Bearer realm=\"{realm}\", Basic realm=\"x\""),
            _ => format!("Bearer realm=\"{realm}\",service=\"s\""),
        }
    }

    fn answer(&self, origin: usize, asked: &Asked, method: &Method) -> Response {
        let mut state = self.state.lock().unwrap();
        let count = state.asked.entry(format!("{origin} {method} {}", asked.path)).or_default();
        *count += 1;
        let text = format!("{origin} {method} {} {count}", asked.path);
        let mixed = text.bytes().fold(state.seed, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut dice = Dice(mixed);
        let mut response = Response::builder();
        let next = self.address(&mut dice, &format!("/v2/app/referrers/{}?last=x", digest()));
        response = response.header("link", format!("<{next}>; rel=\"next\""));
        let number = dice.roll(9);
        let elsewhere = self.address(&mut dice, &format!("/v2/app/go/{number}"));
        let let_in = asked.authorization.is_some();
        let (status, body) = match dice.roll(10) {
            0..=3 if !let_in => {
                response = response.header("www-authenticate", self.challenge(origin, &mut dice));
                (401, vec![])
            }
            0 => {
                response = response.header("www-authenticate", self.challenge(origin, &mut dice));
                (401, vec![])
            }
            1..=3 => {
                response = response.header("location", elsewhere);
                ([301, 302, 303, 307, 308][dice.roll(5)], vec![])
            }
            4 => (500, vec![]),
            _ => {
                response = response.header("location", elsewhere);
                proper(method, &asked.path, &state.token)
            }
        };
        let kind = "application/vnd.oci.image.index.v1+json";
        response.status(status).header("content-type", kind).body(Body::from(body)).unwrap()
    }
}

/// What a registry and its token server would answer.
fn proper(method: &Method, path: &str, token: &str) -> (u16, Vec<u8>) {
    let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    match method.as_str() {
        _ if path.starts_with("/realm/") => {
            (200, format!(r#"{{"token":"{token}","expires_in":1}}"#).into_bytes())
        }
        "GET" => (200, index.to_vec()),
        "POST" | "PATCH" => (202, vec![]),
        "PUT" => (201, vec![]),
        "DELETE" => (204, vec![]),
        _ => (404, vec![]),
    }
}

async fn answer(State((origin, world)): State<(usize, Arc<World>)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let header = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let asked = Asked {
        origin,
        path: head.uri.path().to_owned(),
        writes: matches!(head.method, Method::PATCH | Method::PUT | Method::DELETE),
        text: format!("{} {:?} {}", head.uri, head.headers, String::from_utf8_lossy(&body)),
        authorization: header.map(str::to_owned),
    };
    assert!(!head.headers.contains_key("cookie"), "{}", asked.text);
    let response = world.answer(origin, &asked, &head.method);
    world.state.lock().unwrap().log.push(asked);
    response
}

fn digest() -> imagepush::image::Digest {
    imagepush::image::Digest::of(b"subject")
}

/// Does everything that a push may do, whatever comes of it.
async fn use_registry(host: &str, access: &Access, elsewhere: &Elsewhere) {
    let name = format!("{host}/app:1");
    let image = Image::new("x");
    let layer = image.layer_descriptor();
    let other = Repository { registry: host.to_owned(), path: "base".into() };
    for _ in 0..3 {
        // One that was told of a bad realm asks no more.
        let elsewhere = elsewhere.clone();
        let settings = NetworkSettings { elsewhere, ..NetworkSettings::default() };
        let access = Access { network: Network::new(settings), ..access.clone() };
        let to = destination(&name, &access).await;
        let _ = to.current().await;
        let _ = to.reuse_blob(&layer, None).await;
        let _ = to.reuse_blob(&layer, Some(&other)).await;
        let to = destination(&name, &access).await;
        let _ = to.put_blob(blob(&image.layer), BlobKind::Layer).await;
        let _ = to.put_blob(Blob::measured(chunks(&image.layer)), BlobKind::Layer).await;
        let _ = to.put_manifest(&image.manifest, Role::Named).await;
        let to = destination(&name, &access).await;
        let _ = to.attachments(&digest(), None).await;
        let _ = to.delete_attachment(&digest(), image.manifest.digest()).await;
        let from = source(&name, &access).await;
        let _ = from.manifest(None).await;
        if let Ok(chunks) = from.blob(&layer).await {
            let _ = collect(chunks).await;
        }
        let _ = from.attachments(&digest(), None).await;
    }
}

/// How often things happened, so that a test that finds nothing has looked at something.
#[derive(Debug, Default)]
struct Seen {
    home_with_credentials: usize,
    elsewhere: usize,
    admitted_realms: usize,
    bare_uploads: usize,
    uploads_with_credentials: usize,
}

/// What the user says of the stranger.
#[derive(Clone, Copy, PartialEq)]
enum Stranger {
    Nothing,
    TakesUploads,
    TakesUploadsWithCredentials,
}

impl Stranger {
    fn elsewhere(self, hosts: &[String; 3]) -> Elsewhere {
        let named = || vec![format!("{}={}", hosts[HOME], hosts[STRANGER]).parse().unwrap()];
        let nothing = Elsewhere::default();
        match self {
            Self::Nothing => nothing,
            Self::TakesUploads => Elsewhere { upload_hosts: named(), ..nothing },
            Self::TakesUploadsWithCredentials => {
                Elsewhere { upload_hosts_with_credentials: named(), ..nothing }
            }
        }
    }
}

/// Fails if a request to another origin holds a secret. A realm that the registry itself names, at its own host, gets the
/// credential of the token server; a stranger that takes uploads gets what the registry gets if that is said, and may then
/// name a realm as well.
fn check(
    (seed, stranger): (u64, Stranger),
    log: &[Asked],
    (owned, issued): (&Canary, &Canary),
    counts: &mut Seen,
) {
    let trusted = stranger == Stranger::TakesUploadsWithCredentials;
    for asked in log {
        let what = format!("seed {seed}: {} at origin {}", asked.path, asked.origin);
        if asked.origin == HOME {
            counts.home_with_credentials += usize::from(asked.authorization.is_some());
            continue;
        }
        counts.elsewhere += 1;
        if asked.origin == STRANGER && trusted && asked.writes {
            counts.uploads_with_credentials += usize::from(asked.authorization.is_some());
            continue;
        }
        let uploaded = asked.origin == STRANGER && asked.writes;
        assert!(!uploaded || stranger == Stranger::TakesUploads, "{what}: {}", asked.text);
        counts.bare_uploads += usize::from(uploaded);
        issued.is_not_in(&what, &asked.text);
        let bearer = asked.authorization.as_deref().is_some_and(|text| text.starts_with("Bearer"));
        assert!(!bearer, "{what}: {}", asked.text);
        let names = |origin: usize| asked.path.starts_with(&format!("/realm/{origin}/"));
        if asked.origin == NEIGHBOUR && (names(HOME) || trusted && names(STRANGER)) {
            counts.admitted_realms += 1;
            continue;
        }
        owned.is_not_in(&what, &asked.text);
        assert_eq!(asked.authorization, None, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_reaches_another_origin() {
    let world = World::start().await;
    let mut seen = Seen::default();
    for seed in 0..SEEDS {
        let (password, token) = (Canary::password(), Canary::token());
        let secret = || Secret::new(password.text());
        let credential = match seed % 4 {
            0 => Credential::IdentityToken(secret()),
            1 => Credential::RegistryToken(Secret::new(token.text())),
            _ => Credential::basic("alice", secret()),
        };
        let credentials = Credentials::Explicit(credential);
        let access = Access { credentials, network: Network::default(), ..plain() };
        *world.state.lock().unwrap() = Chance {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            token: token.text().to_owned(),
            ..Chance::default()
        };
        let stranger = match seed / 4 % 3 {
            0 => Stranger::Nothing,
            1 => Stranger::TakesUploads,
            _ => Stranger::TakesUploadsWithCredentials,
        };
        use_registry(&world.hosts[HOME], &access, &stranger.elsewhere(&world.hosts)).await;
        let log = std::mem::take(&mut world.state.lock().unwrap().log);
        check((seed, stranger), &log, (&password, &token), &mut seen);
    }
    let Seen { home_with_credentials, elsewhere, admitted_realms, .. } = seen;
    assert!(home_with_credentials > 500 && elsewhere > 100 && admitted_realms > 20, "{seen:?}");
    assert!(seen.bare_uploads > 10 && seen.uploads_with_credentials > 10, "{seen:?}");
}
