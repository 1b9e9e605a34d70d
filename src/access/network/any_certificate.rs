//! Accepts any certificate of the one host that the user said so of, and none of another: of a proxy on the way, whose
//! certificate is verified only together with the registry's.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// A verifier that doesn't look at certificates, but at whose they are said to be.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    host: Option<ServerName<'static>>,
    schemes: Vec<SignatureScheme>,
}

impl AnyCertificate {
    /// For this host: a name, or an address.
    pub(super) fn new(host: String, provider: &CryptoProvider) -> Self {
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        Self { host: ServerName::try_from(host).ok(), schemes }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.host.as_ref() == Some(server_name) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_host_is_believed() {
        let made = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let cases = [
            ("r.example", "r.example", true),
            ("r.example", "R.EXAMPLE", true),
            ("r.example", "sub.r.example", false),
            ("r.example", "example", false),
            ("r.example", "proxy.example", false),
            ("r.example", "192.0.2.1", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::2", false),
            // What is no name is nobody's.
            ("", "r.example", false),
        ];
        for (host, name, believed) in cases {
            let verifier = AnyCertificate::new(host.to_owned(), &provider);
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let now = UnixTime::now();
            let found = verifier.verify_server_cert(made.cert.der(), &[], &name, &[], now);
            assert_eq!(found.is_ok(), believed, "{host} {name:?}");
        }
    }
}
