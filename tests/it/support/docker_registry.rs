//! Real registries, run for one test on a port of their own, with a log of the requests they got: Debian's
//! docker-registry, distribution's version 3, and go-containerregistry's with the referrers API.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::certificates::ServerFiles;
use super::peers;
use super::server::{End, Server};
use super::token_server::{ISSUER, SERVICE, TokenSetup};

/// A running registry; it ends when this is dropped.
pub(crate) struct DockerRegistry {
    _server: Server,
    /// Host and port.
    pub(crate) host: String,
    folder: TempDir,
    callers: Callers,
}

/// Address and port that each connection came from.
type Callers = Arc<Mutex<BTreeSet<String>>>;

/// A request that a registry got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
}

/// Which registry is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Program {
    /// Debian's docker-registry 2.8.2, which has no referrers API.
    #[default]
    Debian,
    /// distribution's registry, version 3, which has none either.
    Version3,
    /// go-containerregistry's with the referrers API; it keeps everything in memory, and speaks plain HTTP only.
    Referrers,
}

/// How a registry is to run.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    pub(crate) program: Program,
    /// Certificate and key to serve TLS with.
    pub(crate) tls: Option<&'a ServerFiles>,
    /// Authority of the certificates that it wants to be shown.
    pub(crate) clients: Option<&'a Path>,
    /// User and password that are asked for.
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// The token server whose tokens are asked for.
    pub(crate) tokens: Option<TokenSetup<'a>>,
}

/// File with a line for each request.
const ACCESS_LOG: &str = "access.log";

impl DockerRegistry {
    /// Starts a registry that speaks plain HTTP and lets everybody in.
    pub(crate) fn plain() -> Self {
        Self::start(&Setup::default())
    }

    /// Starts a registry and waits until it listens.
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yml");
        fs::write(&config, configuration(setup, folder.path())).unwrap();
        let access_log = File::create(folder.path().join(ACCESS_LOG)).unwrap();
        let command = command(setup, config);
        let outputs = [access_log.into(), Stdio::piped()];
        let mut server =
            Server::start(&command[0], &command[1..], folder.path(), End::Kill, outputs);
        let callers = Callers::default();
        let seen = Arc::clone(&callers);
        let host = server.listening(move |line| seen.lock().unwrap().extend(caller(line)));
        Self { _server: server, host, folder, callers }
    }

    /// Starts one of the registries, which speaks plain HTTP and lets everybody in.
    pub(crate) fn of(program: Program) -> Self {
        Self::start(&Setup { program, ..Setup::default() })
    }

    /// Everything that it was asked so far, in order. A line is written before its answer is sent.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let log = fs::read_to_string(self.folder.path().join(ACCESS_LOG)).unwrap();
        log.lines().filter_map(Request::parse).collect()
    }

    /// How many upload sessions are open. Only distribution's registries tell; version 3 leaves a folder of one that has
    /// ended, without the file that says when it began.
    pub(crate) fn open_sessions(&self) -> usize {
        let repositories = self.folder.path().join("storage/docker/registry/v2/repositories");
        let repositories = fs::read_dir(repositories).unwrap();
        let uploads = repositories.flat_map(|repository| {
            fs::read_dir(repository.unwrap().path().join("_uploads")).into_iter().flatten()
        });
        uploads.filter(|upload| upload.as_ref().unwrap().path().join("startedat").exists()).count()
    }

    /// How many connections brought requests so far. Only distribution's registries tell.
    pub(crate) fn connections(&self) -> usize {
        self.callers.lock().unwrap().len()
    }
}

/// Reads `… http.request.remoteaddr="127.0.0.1:41706" …`.
fn caller(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http.request.remoteaddr=")?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}

impl Request {
    /// Reads `127.0.0.1 - - [date] "HEAD /v2/… HTTP/1.1" 200 …`.
    fn parse(line: &str) -> Option<Self> {
        let mut quoted = line.split('"');
        let request = quoted.nth(1)?;
        let status = quoted.next()?.split_whitespace().next()?.parse().ok()?;
        let mut words = request.split(' ');
        Some(Self { method: words.next()?.to_owned(), path: words.next()?.to_owned(), status })
    }
}

/// The program with its arguments.
fn command(setup: &Setup<'_>, config: PathBuf) -> Vec<OsString> {
    match setup.program {
        Program::Debian => vec!["docker-registry".into(), "serve".into(), config.into()],
        // It would send traces to a collector on this machine.
        Program::Version3 => vec![
            "env".into(),
            "OTEL_TRACES_EXPORTER=none".into(),
            peers::program("registry").into(),
            "serve".into(),
            config.into(),
        ],
        Program::Referrers => {
            assert!(setup.tls.is_none() && setup.login.is_none(), "it can do neither");
            vec![peers::program("referrers-registry").into()]
        }
    }
}

fn configuration(setup: &Setup<'_>, folder: &Path) -> String {
    let storage = folder.join("storage");
    let mut text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
         delete: {{enabled: true}}\nhttp:\n  addr: 127.0.0.1:0\n",
        storage.display()
    );
    if let Some(files) = setup.tls {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let clients = setup.clients.map(|path| format!(", clientcas: [{}]", path.display()));
        let clients = clients.unwrap_or_default();
        writeln!(text, "  tls: {{certificate: {certificate}, key: {key}{clients}}}").unwrap();
    }
    if let Some((user, password)) = setup.login {
        let path = folder.join("htpasswd");
        let made = Command::new("htpasswd")
            .args(["-nbB", user, password])
            .output()
            .expect("htpasswd must be installed: run `scripts/install-packages`");
        fs::write(&path, made.stdout).unwrap();
        writeln!(text, "auth:\n  htpasswd: {{realm: test, path: {}}}", path.display()).unwrap();
    }
    if let Some(TokenSetup { realm, certificate }) = setup.tokens {
        let bundle = certificate.display();
        writeln!(
            text,
            "auth:\n  token: {{realm: \"{realm}\", service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {bundle}}}"
        )
        .unwrap();
    }
    text
}
