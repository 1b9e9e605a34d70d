//! Servers in the tests' own process that speak TLS, with whatever certificate a test wants.

use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::canary;
use super::raw::head;

/// A server that has nothing of what it is asked for; it ends when this is dropped.
pub(crate) struct TlsServer {
    /// Host and port.
    pub(crate) host: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// A certificate chain and its key.
pub(crate) struct Shown {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Shown {
    /// A certificate for 127.0.0.1 that nobody has signed.
    pub(crate) fn unknown() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Self { chain: vec![made.cert.der().clone()], key }
    }
}

/// TLS with a certificate; with `clients`, only for those who have one of that authority.
pub(crate) fn config(shown: Shown, clients: Option<CertificateDer<'static>>) -> ServerConfig {
    imagepush::access::install_crypto_provider();
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(shown.chain, shown.key).unwrap()
}

/// Takes connections on a free port and hands each to `serve` once the handshake is done. Returns host and port.
pub(crate) async fn listen<F: Future<Output = ()> + Send + 'static>(
    config: ServerConfig,
    serve: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream));
            }
        }
    });
    (host, task)
}

impl TlsServer {
    /// Answers 404 to every request.
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let heads = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&heads);
        let serve = move |mut stream: TlsStream<TcpStream>| {
            let seen = Arc::clone(&seen);
            async move {
                while let Some(head) = head(&mut stream).await {
                    seen.lock().unwrap().push(head);
                    let absent = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(absent).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        };
        let (host, task) = listen(config, serve).await;
        Self { host, heads, task }
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
        canary::none_was_sent(&self.heads(), &[]);
    }
}
