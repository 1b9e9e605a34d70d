//! Certificates of every bad kind, client certificates, and HTTP/2.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use imagepush::access::{
    Access, Certificates, ClientIdentity, Credential, Credentials, Secret, TlsPolicy,
    TrustedCertificates,
};
use imagepush::error::{Class, Kind};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::harness::*;
use crate::support::canary::secret;
use crate::support::raw;
use crate::support::registry::{Login, Registry};
use crate::support::tls_server::{Shown, TlsServer, config, listen};
use crate::support::tools;

/// An authority that may vouch for some hosts only, or for all.
fn authority(constraints: Option<NameConstraints>) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = constraints;
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), certificate)
}

/// A certificate for 127.0.0.1 that is wrong in some way.
fn issued(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    wrong: impl FnOnce(&mut CertificateParams),
) -> (Shown, String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    wrong(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let shown = Shown { chain: vec![certificate.der().clone()], key: der };
    (shown, certificate.pem(), key.serialize_pem())
}

fn trusting(authority: &str, identity: Option<ClientIdentity>) -> Access {
    let authorities = vec![authority.to_owned()];
    let certificates = Certificates::Pem(TrustedCertificates { authorities, identity });
    Access { certificates, ..Access::default() }
}

/// `ok`, or what is told, with the host written as `HOST`.
async fn connect(host: &str, access: &Access) -> String {
    match destination(&format!("{host}/app:1"), access).await.current().await {
        Ok(None) => "ok".to_owned(),
        Ok(current) => panic!("{current:?}"),
        Err(error) => {
            let doing = "reading manifest `1` of `docker://HOST/app`: ";
            told(&error).replace(host, "HOST").replace(doing, "")
        }
    }
}

/// A certificate that is signed by SHA-1, and its authority: nothing but `openssl` makes such a thing still.
fn by_sha1(folder: &Path) -> (Shown, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj"];
    let (ca, ca_key, csr, key, leaf) =
        (path("ca.pem"), path("ca.key"), path("leaf.csr"), path("leaf.key"), path("leaf.pem"));
    let run = |arguments: &[&str]| tools::run("openssl", arguments);
    run(&[&new[..], &["/CN=ca", "-x509", "-days", "2", "-keyout", &ca_key, "-out", &ca]].concat());
    run(&[&new[..], &["/CN=leaf", "-keyout", &key, "-out", &csr]].concat());
    run(&[
        "x509",
        "-req",
        "-sha1",
        "-days",
        "2",
        "-in",
        &csr,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-extfile",
        &path("names"),
        "-out",
        &leaf,
    ]);
    let chain = vec![CertificateDer::from_pem_file(&leaf).unwrap()];
    let shown = Shown { chain, key: PrivateKeyDer::from_pem_file(&key).unwrap() };
    (shown, std::fs::read_to_string(&ca).unwrap())
}

#[tokio::test]
async fn every_bad_certificate_is_told_by_its_fault() {
    let (issuer, ca) = authority(None);
    let (_, other) = authority(None);
    let only_private = NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::V4(
            [10, 0, 0, 0],
            [255, 0, 0, 0],
        ))],
        excluded_subtrees: vec![],
    };
    let (constrained, constrained_ca) = authority(Some(only_private));
    let leaf = |wrong: fn(&mut CertificateParams)| issued(&issuer, "127.0.0.1", wrong).0;
    let own = || {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (Shown { chain: vec![certificate.der().clone()], key: der }, certificate.pem())
    };
    let folder = tempfile::tempdir().unwrap();
    let (sha1, sha1_ca) = by_sha1(folder.path());
    let (own, own_pem) = own();

    let skip =
        "pass the authority with `--cert-dir`, or trust any certificate with `--tls-verify=false`";
    let reissue =
        "have the registry's certificate made anew, or trust any with `--tls-verify=false`";
    let unknown = ("is signed by an unknown authority", skip);
    let cases = [
        (leaf(|_| ()), &ca, None),
        (leaf(|_| ()), &other, Some(unknown)),
        (Shown::unknown(), &ca, Some(unknown)),
        (
            leaf(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            &ca,
            Some(("has expired", "renew the certificate, and check this machine's clock")),
        ),
        (
            leaf(|params| params.not_before = date_time_ymd(2100, 1, 1)),
            &ca,
            Some(("is not valid yet", "check this machine's clock")),
        ),
        (
            issued(&issuer, "registry.example", |_| ()).0,
            &ca,
            Some(("is for another name", "use a name that the certificate lists")),
        ),
        (own, &own_pem, Some(("is that of an authority", reissue))),
        (
            leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            &ca,
            Some(("is not for servers", reissue)),
        ),
        (
            issued(&constrained, "127.0.0.1", |_| ()).0,
            &constrained_ca,
            Some(("has a name that its authority may not vouch for", reissue)),
        ),
        (sha1, &sha1_ca, Some(("is signed in a way that is too weak, or unknown", reissue))),
    ];
    for (shown, trusted, fault) in cases {
        let server = TlsServer::start(config(shown, None)).await;
        let expected = fault.map_or("ok".to_owned(), |(what, hint)| {
            format!("TLSVerificationFailed Permanent: the certificate of `HOST` {what} // {hint}")
        });
        assert_eq!(connect(&server.host, &trusting(trusted, None)).await, expected);
        assert_eq!(server.heads().len(), usize::from(fault.is_none()), "{expected}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_and_shown() {
    let (issuer, ca) = authority(None);
    let (stranger, _) = authority(None);
    let clients = || Some(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap());
    let identity = |issuer| {
        let client = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        let (_, certificate, key) = issued(issuer, "client", client);
        Some(ClientIdentity { certificate, key: Secret::new(key) })
    };
    let shown = issued(&issuer, "127.0.0.1", |_| ()).0;
    let server = TlsServer::start(config(shown, clients())).await;
    assert_eq!(connect(&server.host, &trusting(&ca, identity(&issuer))).await, "ok");
    let hint =
        "if the registry wants a client certificate, put it into the directory of `--cert-dir`";
    for (own, told) in [
        (None, "`HOST` wants a client certificate"),
        // Both authorities have the same name, and so it is the signature that is wrong.
        (identity(&stranger), "`HOST` refused the TLS handshake: DecryptError"),
    ] {
        let expected = format!("TLSVerificationFailed Permanent: {told} // {hint}");
        assert_eq!(connect(&server.host, &trusting(&ca, own)).await, expected);
    }
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn plain_http_to_a_port_that_speaks_tls_is_told_so() {
    let server = TlsServer::start(config(Shown::unknown(), None)).await;
    assert_eq!(
        connect(&server.host, &plain()).await,
        "NetworkError Permanent: `HOST` answers with something that is not HTTP \
         // check the port, and whether the registry speaks TLS there"
    );
}

#[tokio::test]
async fn a_registry_that_need_not_be_verified_says_nothing_of_its_token_server() {
    let server = TlsServer::start(config(Shown::unknown(), None)).await;
    let registry = Registry::start().await;
    let realm = format!("https://{}/token", server.host);
    registry.set_login(Login::bearer_at(&realm, "alice", secret("docker::tls")));
    let credentials = plain_as("alice", secret("docker::tls")).credentials;
    let access = Access { tls: TlsPolicy::SkipVerifyOrPlainHttp, credentials, ..Access::default() };
    let to = destination(&format!("{}/app:1", registry.host), &access).await;
    let error = to.current().await.unwrap_err();
    assert_eq!(error.kind(), Kind::TlsVerificationFailed, "{error}");
    assert_eq!(server.heads().len(), 0);
    // The registry itself may have such a certificate.
    assert_eq!(connect(&server.host, &access).await, "ok");
}

#[tokio::test]
async fn tls_that_breaks_in_a_body_may_be_tried_again() {
    let serve = |mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>| async move {
        crate::support::raw::head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nstart").await.unwrap();
        stream.flush().await.unwrap();
        // A record that nobody has encrypted.
        stream
            .get_mut()
            .0
            .write_all(b"\x17\x03\x03\0\x20broken-broken-broken-broken-broken-")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    };
    let (host, task) = listen(config(Shown::unknown(), None), serve).await;
    let from = source(&format!("{host}/app:1"), &tls(TlsPolicy::SkipVerify, None)).await;
    let error = from.manifest(None).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (Kind::NetworkError, Class::Transient), "{error}");
    task.abort();
}

/// A server that speaks TLS on its first connection and answers 401 there. Later it hangs up on handshakes, and has nothing
/// of what it is asked for in plain HTTP. The heads are those of the latter.
async fn forgets_tls(challenge: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let challenge = challenge.replace("HOST", &host);
    let plain_heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let heads = Arc::clone(&plain_heads);
    let acceptor = TlsAcceptor::from(Arc::new(config(Shown::unknown(), None)));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        raw::head(&mut stream).await.unwrap();
        let refusal = format!(
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: {challenge}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(refusal.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(head) = raw::head(&mut stream).await {
                heads.lock().unwrap().push(head);
                let absent =
                    b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(absent).await.unwrap();
            }
        }
    });
    (host, plain_heads)
}

#[tokio::test]
async fn nothing_secret_goes_out_in_clear_text_when_tls_has_worked() {
    let bearer = "Bearer realm=\"https://HOST/token\",service=\"test\"";
    let password = || Credential::basic("alice", Secret::new(secret("docker::tls")));
    for (challenge, credential) in [
        ("Basic realm=\"test\"", password()),
        (bearer, password()),
        (bearer, Credential::IdentityToken(Secret::new(secret("docker::tls")))),
    ] {
        let (host, heads) = forgets_tls(challenge).await;
        let access = Access {
            credentials: Credentials::Explicit(credential),
            ..tls(TlsPolicy::SkipVerifyOrPlainHttp, None)
        };
        let name = format!("{host}/app:1");
        let error = destination(&name, &access).await.current().await.unwrap_err();
        assert_eq!(error.kind(), Kind::NetworkError, "{challenge}: {error}");
        assert_eq!(*heads.lock().unwrap(), Vec::<String>::new(), "{challenge}");
        // Another push knows what the registry asks for, and doesn't know yet that it speaks TLS.
        assert_eq!(destination(&name, &access).await.current().await.unwrap(), None);
        let heads = heads.lock().unwrap();
        assert_eq!(heads.len(), 1, "{heads:?}");
        assert!(heads[0].starts_with("HEAD ") && !heads[0].contains("authorization"), "{heads:?}");
    }
}

#[tokio::test]
async fn a_registry_that_speaks_no_tls_is_asked_first_what_it_wants() {
    let registry = Registry::start().await;
    registry.set_login(Login::basic("alice", secret("docker::tls")));
    let credentials = plain_as("alice", secret("docker::tls")).credentials;
    let access = Access { credentials, ..tls(TlsPolicy::SkipVerifyOrPlainHttp, None) };
    let head = |status: u16| format!("HEAD /v2/app/manifests/1 {status}");
    for _ in 0..2 {
        let to = destination(&format!("{}/app:1", registry.host), &access).await;
        assert_eq!(to.current().await.unwrap(), None);
        assert_eq!(registry.take_log(), [head(401), head(404)]);
    }
}

/// What a server of HTTP/2 does with each stream.
#[derive(Clone, Copy, Debug)]
enum Stream {
    /// It has nothing there.
    Absent,
    /// It has not looked at it, and somebody may do so later.
    Refuse,
    /// It ends the whole connection.
    GoAway,
}

/// An HTTP/2 server, and how many connections and streams it has had.
async fn http2(stream: Stream) -> (String, Arc<[AtomicUsize; 2]>) {
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = Arc::clone(&counts);
    let serve = move |tls| {
        let counted = Arc::clone(&counted);
        async move {
            counted[0].fetch_add(1, Ordering::Relaxed);
            let mut connection = h2::server::handshake(tls).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                counted[1].fetch_add(1, Ordering::Relaxed);
                match stream {
                    Stream::Absent => {
                        let mut absent = axum::http::Response::new(());
                        *absent.status_mut() = axum::http::StatusCode::NOT_FOUND;
                        respond.send_response(absent, true).unwrap();
                    }
                    Stream::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    Stream::GoAway => connection.abrupt_shutdown(h2::Reason::NO_ERROR),
                }
            }
        }
    };
    let mut config = config(Shown::unknown(), None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (host, _) = listen(config, serve).await;
    (host, counts)
}

#[tokio::test]
async fn registries_may_speak_http2() {
    let (host, counts) = http2(Stream::Absent).await;
    let access = tls(TlsPolicy::SkipVerify, None);
    let to = destination(&format!("{host}/app:1"), &access).await;
    assert_eq!(to.current().await.unwrap(), None);
    let many = (0..40).map(|_| to.current());
    for current in futures::future::join_all(many).await {
        assert_eq!(current.unwrap(), None);
    }
    let [connections, streams] = [0, 1].map(|n| counts[n].load(Ordering::Relaxed));
    assert_eq!((connections, streams), (1, 41));
}

#[tokio::test]
async fn streams_that_are_refused_may_be_tried_again() {
    for stream in [Stream::Refuse, Stream::GoAway] {
        let (host, _) = http2(stream).await;
        let to = destination(&format!("{host}/app:1"), &tls(TlsPolicy::SkipVerify, None)).await;
        let error = to.current().await.unwrap_err();
        let told = (error.kind(), error.class());
        assert_eq!(told, (Kind::NetworkError, Class::Transient), "{stream:?}: {error}");
    }
}
