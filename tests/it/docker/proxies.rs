//! Proxies that the environment names, from the command line.

use std::process::Output;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::run::{program, shown};
use crate::support::canary::secret;
use crate::support::raw::{Deed, Raw, head};
use crate::support::registry::Registry;
use crate::support::tls_server::{Shown, TlsServer, config};

/// A proxy that leads everybody to one place, whatever they ask for. Returns its address and the heads that it gets.
async fn proxy_to(place: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(vec![]));
    let (seen, place) = (Arc::clone(&heads), place.to_owned());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(lead(stream, place.clone(), Arc::clone(&seen)));
        }
    });
    (host, heads)
}

async fn lead(mut stream: TcpStream, place: String, heads: Arc<Mutex<Vec<String>>>) {
    let Some(head) = head(&mut stream).await else { return };
    heads.lock().unwrap().push(head.clone());
    let mut there = TcpStream::connect(&place).await.unwrap();
    if head.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        // What is meant for the proxy stays here.
        let (line, headers) = head.split_once("\r\n").unwrap();
        let (method, rest) = line.split_once(" http://").unwrap();
        let (_, path) = rest.split_once('/').unwrap();
        let kept: String = headers
            .split_inclusive("\r\n")
            .filter(|header| !header.starts_with("proxy-"))
            .collect();
        there.write_all(format!("{method} /{path}\r\n{kept}").as_bytes()).await.unwrap();
    }
    let _ = copy_bidirectional(&mut stream, &mut there).await;
}

/// Inspects an image with these variables set.
async fn inspect(reference: &str, variables: &[(&str, String)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path(), &["inspect", reference, "--tls-verify=false"]);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output: Output =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    shown(&output)
}

#[tokio::test]
async fn the_command_line_goes_by_way_of_the_proxies_of_the_environment() {
    let server = TlsServer::start(config(Shown::unknown(), None)).await;
    let (proxy, heads) = proxy_to(&server.host).await;
    let url = format!("http://user:{}@{proxy}", secret("docker::proxies"));
    let shown = inspect("docker://registry.test/app:1", &[("HTTPS_PROXY", url)]).await;
    assert!(shown.contains("the registry answered 404 Not Found"), "{shown}");
    let asked = heads.lock().unwrap().clone();
    assert!(asked.iter().all(|head| head.starts_with("CONNECT registry.test:443 ")), "{asked:?}");
    assert!(asked.iter().all(|head| head.to_lowercase().contains("proxy-authorization: basic ")));
    let seen = server.heads();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|head| !head.to_lowercase().contains("authorization")), "{seen:?}");
}

#[tokio::test]
async fn plain_http_goes_by_way_of_a_proxy_too() {
    let registry = Registry::start().await;
    let (proxy, heads) = proxy_to(&registry.host).await;
    let url = || format!("http://user:{}@{proxy}", secret("docker::proxies"));
    let both = [("HTTPS_PROXY", url()), ("http_proxy", url())];
    let shown = inspect("docker://registry.test:5000/app:1", &both).await;
    assert!(shown.contains("404 Not Found"), "{shown}");
    let asked = heads.lock().unwrap().clone();
    assert!(asked[0].starts_with("CONNECT registry.test:5000 "), "{asked:?}");
    assert!(asked[1].starts_with("GET http://registry.test:5000/v2/app/manifests/1 "), "{asked:?}");
    assert!(!registry.seen().is_empty());
}

#[tokio::test]
async fn no_proxy_means_none() {
    let registry = Registry::start().await;
    let (proxy, heads) = proxy_to(&registry.host).await;
    let url = || format!("http://user:{}@{proxy}", secret("docker::proxies"));
    let variables =
        [("HTTPS_PROXY", url()), ("HTTP_PROXY", url()), ("NO_PROXY", "127.0.0.1".into())];
    let shown = inspect(&format!("docker://{}/app:1", registry.host), &variables).await;
    assert!(shown.contains("404 Not Found"), "{shown}");
    assert_eq!(heads.lock().unwrap().len(), 0);
    assert!(registry.seen().iter().all(|seen| !seen.headers.contains_key("proxy-authorization")));
}

#[tokio::test]
async fn a_proxy_that_refuses_says_why() {
    let answer = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    let doing = "reading manifest `1` of `docker://registry.test/app`: ";
    for (deed, code, told) in [
        (
            Deed::last(&answer("407 Proxy Authentication Required")),
            1,
            "the proxy wants credentials\nside: source\nhint: put them into its URL in `HTTPS_PROXY` or `HTTP_PROXY`",
        ),
        (
            Deed::last(&answer("403 Forbidden")),
            75,
            "the proxy makes no connection to `registry.test`\nside: source\nhint: check what the proxy allows",
        ),
        (Deed::Close, 75, "the proxy hung up instead of connecting to `registry.test`\n"),
    ] {
        let proxy = Raw::start(vec![deed]).await;
        let variables = [("HTTPS_PROXY", format!("http://{}", proxy.host))];
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["push", "docker://registry.test/app:1", "dir:image", "--retry=0"];
        let mut command = program(folder.path(), &arguments);
        command.envs(variables);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let shown = shown(&output);
        assert!(shown.starts_with(&format!("exit {code}\n")), "{shown}");
        assert!(shown.contains(&format!("{doing}{told}")), "{shown}");
    }
}

/// Whoever says that a registry's certificate need not be good has not said so of the proxy's. That one is verified only
/// where the registry's is.
#[tokio::test]
async fn a_proxy_with_a_certificate_is_not_believed_for_the_registrys_sake() {
    let proxy = TlsServer::start(config(Shown::unknown(), None)).await;
    let variables = [("HTTPS_PROXY", format!("https://{}", proxy.host))];
    let shown = inspect("docker://registry.test/app:1", &variables).await;
    let told = "the proxy on the way to `registry.test` shows a certificate, which is not verified where the registry's is not";
    assert!(shown.starts_with("exit 1\n") && shown.contains(told), "{shown}");
    assert_eq!(proxy.heads(), [""; 0]);
}

#[tokio::test]
async fn a_registry_warns_once() {
    let answer = "HTTP/1.1 404 Not Found\r\nwarning: 299 - \"moves to \u{202e}\"\r\nwarning: 299 - \"moves to \u{202e}\"\r\ncontent-length: 0\r\n\r\n";
    let server = Raw::start(vec![Deed::answer(answer)]).await;
    let folder = tempfile::tempdir().unwrap();
    let reference = format!("docker://{}/app:1", server.host);
    let mut command = program(folder.path(), &["inspect", &reference, "--tls-verify=false"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let shown = shown(&output);
    assert_eq!(shown.matches("the registry warns: moves to").count(), 1, "{shown}");
    assert!(shown.contains("moves to \\u{202e}"), "{shown}");
}
