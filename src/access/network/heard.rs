//! Cryptography of TLS that lets [`Talk`] hear what a connection decrypts: the one place below the HTTP library that sees
//! each byte of a connection, and that can end it.

use std::sync::{Arc, LazyLock};

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, aws_lc_rs};
use rustls::{
    ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

use super::talk::Talk;

/// The usual suites. Each refers to a part that has to live as long as the program.
static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
    LazyLock::new(|| aws_lc_rs::default_provider().cipher_suites.into_iter().map(heard).collect());

/// The usual cryptography, and nothing but that: what is decrypted is looked at, too.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let cipher_suites = SUITES.clone();
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

fn heard(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    match suite {
        SupportedCipherSuite::Tls12(suite) => {
            let Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg } = suite;
            let aead_alg = Box::leak(Box::new(Heard(*aead_alg)));
            let (prf_provider, kx) = (*prf_provider, *kx);
            let heard = Tls12CipherSuite { common: same(common), prf_provider, kx, sign, aead_alg };
            SupportedCipherSuite::Tls12(Box::leak(Box::new(heard)))
        }
        SupportedCipherSuite::Tls13(suite) => {
            let Tls13CipherSuite { common, hkdf_provider, aead_alg, quic } = suite;
            let aead_alg = Box::leak(Box::new(Heard(*aead_alg)));
            let (hkdf_provider, quic) = (*hkdf_provider, *quic);
            let heard = Tls13CipherSuite { common: same(common), hkdf_provider, aead_alg, quic };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(heard)))
        }
    }
}

fn same(common: &CipherSuiteCommon) -> CipherSuiteCommon {
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = common;
    CipherSuiteCommon {
        suite: *suite,
        hash_provider: *hash_provider,
        confidentiality_limit: *confidentiality_limit,
    }
}

/// An algorithm whose decrypted messages are heard.
struct Heard<A: ?Sized + 'static>(&'static A);

/// A connection's decrypter, and what has been heard under its key.
struct Hearing {
    decrypter: Box<dyn MessageDecrypter>,
    talk: Talk,
}

// === impl Heard ===

impl Tls12AeadAlgorithm for Heard<dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv, extra)
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(Hearing::new(self.0.decrypter(key, iv)))
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

impl Tls13AeadAlgorithm for Heard<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Hearing::new(self.0.decrypter(key, iv)))
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

// === impl Hearing ===

impl Hearing {
    fn new(decrypter: Box<dyn MessageDecrypter>) -> Self {
        Self { decrypter, talk: Talk::default() }
    }
}

impl MessageDecrypter for Hearing {
    fn decrypt<'a>(
        &mut self,
        message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let plain = self.decrypter.decrypt(message, number)?;
        self.talk.hear(plain.typ, plain.payload)?;
        Ok(plain)
    }
}
