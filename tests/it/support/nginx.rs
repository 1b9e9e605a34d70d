//! Debian's nginx in front of a registry, as people run it: it speaks TLS and HTTP/2 to clients and plain HTTP to the
//! registry, and may offer it below a path of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use super::certificates::ServerFiles;
use super::server::{End, Server};

/// What is said when the sockets are open.
const READY: &str = "start worker processes";

/// A running proxy; it ends when this is dropped.
pub(crate) struct Nginx {
    _server: Server,
    _folder: TempDir,
    /// Host and port.
    pub(crate) host: String,
}

/// How a proxy is to run.
pub(crate) struct Setup<'a> {
    /// Host and port of the registry.
    pub(crate) registry: &'a str,
    pub(crate) tls: &'a ServerFiles,
    /// What stands before the name of each repository, on this side only; empty, or with a slash at its end.
    pub(crate) prefix: &'a str,
    /// `client_max_body_size`; 0 is no limit.
    pub(crate) body_limit: &'a str,
    pub(crate) bodies: Bodies,
}

/// When the registry gets to see the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// When nginx has all of it: its default.
    Buffered,
    /// As it comes.
    Streamed,
}

// === impl Nginx ===

impl Nginx {
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = free_address();
        let path = folder.path().join("nginx.conf");
        fs::write(&path, configuration(setup, &host, folder.path())).unwrap();
        let arguments = ["-c", path.to_str().unwrap()];
        let outputs = [Stdio::null(), Stdio::piped()];
        let mut server =
            Server::start("/usr/sbin/nginx", &arguments, folder.path(), End::Terminate, outputs);
        server.says(READY, |_| ());
        Self { _server: server, _folder: folder, host }
    }
}

/// nginx takes no port 0. Another process may take this one in between; then nginx doesn't start, and says so.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn configuration(setup: &Setup<'_>, host: &str, folder: &Path) -> String {
    let Setup { registry, tls, prefix, body_limit, bodies } = setup;
    let (certificate, key) = (tls.certificate.display(), tls.key.display());
    let buffering = if *bodies == Bodies::Buffered { "on" } else { "off" };
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};"))
        .join("\n  ");
    format!(
        "daemon off;\nuser root;\npid {folder}/pid;\nerror_log stderr notice;\nevents {{}}\nhttp {{
  access_log off;
  {temporary}
  server {{
    listen {host} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    client_max_body_size {body_limit};
    proxy_http_version 1.1;
    proxy_request_buffering {buffering};
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    location = /v2/ {{ proxy_pass http://{registry}; }}
    location /v2/{prefix} {{
      proxy_pass http://{registry}/v2/;
      proxy_redirect ~^(?:https?://[^/]+)?/v2/(.*)$ /v2/{prefix}$1;
    }}
  }}
}}\n"
    )
}
