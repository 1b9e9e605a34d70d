//! What a Secret says for TLS: whom to trust, and who we are.
//!
//! An authority is public, and its worst use is that of whoever names it. A client's certificate is a login: whoever may
//! name a Secret would be somebody else wherever they like, so the Secret has to say which registry it is for.

use k8s_openapi::api::core::v1::Secret as SecretObject;

use super::{OPAQUE, bound, type_of, value};
use crate::access::{Certificates, ClientIdentity, Secret, Trust, TrustedCertificates};
use crate::controller::failure::Failure;

/// The type of a Secret with a certificate and its key.
const TLS: &str = "kubernetes.io/tls";

/// What a Secret holds for the registry of a reference.
pub(super) fn of(
    name: &str,
    secret: &SecretObject,
    reference: &str,
) -> Result<Certificates, Failure> {
    let invalid = |what: &str| Failure::secret_invalid(name, what);
    let kind = type_of(secret);
    if ![OPAQUE, TLS].contains(&kind) {
        return Err(invalid(&format!(
            "its type is `{kind}`, and that of certificates has to be `{OPAQUE}` or `{TLS}`; put them into a Secret of \
             their own"
        )));
    }
    let [authority, certificate, key] =
        ["ca.crt", "tls.crt", "tls.key"].map(|it| value(secret, it));
    if authority.is_none() && certificate.is_none() && key.is_none() {
        return Err(invalid("it has neither the key `ca.crt` nor `tls.crt` with `tls.key`"));
    }
    if certificate.is_some() != key.is_some() {
        return Err(invalid("it has only one of the keys `tls.crt` and `tls.key`"));
    }
    if key.is_some() {
        bound(name, secret, reference, "its client certificate")?;
    }
    let text = |key: &str| {
        let text = value(secret, key).map(|it| std::str::from_utf8(it).map(str::to_owned));
        text.transpose().map_err(|_| invalid(&format!("key `{key}` is not PEM")))
    };
    let identity = text("tls.crt")?.zip(text("tls.key")?);
    let identity =
        identity.map(|(certificate, key)| ClientIdentity { certificate, key: Secret::new(key) });
    let authorities = text("ca.crt")?.into_iter().collect();
    let certificates = Certificates::Pem(TrustedCertificates { authorities, identity });
    // Before an attempt finds out, which can't tell whose they are.
    Trust::load(&certificates, "").map_err(|error| invalid(&error.to_string()))?;
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::api::REGISTRY;

    fn secret(kind: &str, registry: Option<&str>, entries: &[(&str, &str)]) -> SecretObject {
        let data = entries.iter().map(|(key, text)| ((*key).into(), ByteString((*text).into())));
        let mut secret = SecretObject { data: Some(data.collect()), ..SecretObject::default() };
        secret.type_ = Some(kind.to_owned());
        secret.metadata.annotations = registry.map(|it| [(REGISTRY.into(), it.into())].into());
        secret
    }

    fn refusal(secret: &SecretObject) -> String {
        let failure = of("s", secret, "docker://r.example:5000/a:1").unwrap_err();
        assert_eq!(failure.reason, "SecretInvalid");
        failure.message.strip_prefix("secret `s` cannot be used: ").unwrap().to_owned()
    }

    /// Whoever may name a Secret is nobody by it where it isn't meant.
    #[test]
    fn a_client_certificate_is_shown_to_the_registry_that_its_secret_names_only() {
        let made = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let whole = [("ca.crt", pem.as_str()), ("tls.crt", &pem), ("tls.key", &key)];
        let reference = "docker://R.example:5000/a:1";
        for kind in [OPAQUE, TLS, ""] {
            let found = of("s", &secret(kind, Some("r.example:5000"), &whole), reference).unwrap();
            let Certificates::Pem(found) = found else { panic!("{found:?}") };
            assert_eq!(found.authorities, std::slice::from_ref(&pem));
            assert_eq!(found.identity.as_ref().unwrap().certificate, pem);
            assert!(!format!("{found:?}").contains(key.lines().nth(1).unwrap()));
            let unbound = "it has no annotation `imagepush.dev/registry`, which names the registry its client \
                           certificate is for; have it annotated by who may change it";
            assert_eq!(refusal(&secret(kind, None, &whole)), unbound, "{kind}");
        }
        for other in ["r.example", "evil.example:5000", "", "*"] {
            let expected = format!(
                "its client certificate is for the registry `{other}`, and not for `r.example:5000`; name another \
                 one, or have its annotation `imagepush.dev/registry` changed"
            );
            assert_eq!(refusal(&secret(TLS, Some(other), &whole)), expected);
        }
        let authority = secret(OPAQUE, None, &whole[..1]);
        let Ok(Certificates::Pem(found)) = of("s", &authority, reference) else { panic!() };
        assert!(found.identity.is_none() && found.authorities == [pem]);
    }

    /// What would be wrong with the content isn't told, since nobody has looked.
    #[test]
    fn type_and_annotation_are_asked_before_the_content() {
        let broken = [("ca.crt", "canary"), ("tls.crt", "canary"), ("tls.key", "canary")];
        for kind in
            ["kubernetes.io/service-account-token", "helm.sh/release.v1", super::super::BASIC_AUTH]
        {
            let expected = format!(
                "its type is `{kind}`, and that of certificates has to be `Opaque` or `kubernetes.io/tls`; put them \
                 into a Secret of their own"
            );
            assert_eq!(refusal(&secret(kind, Some("r.example:5000"), &broken)), expected);
        }
        assert!(refusal(&secret(OPAQUE, None, &broken)).starts_with("it has no annotation"));
        let looked = refusal(&secret(OPAQUE, Some("r.example:5000"), &broken));
        assert!(
            !looked.starts_with("it has no annotation") && !looked.contains("canary"),
            "{looked}"
        );
    }

    #[test]
    fn what_lacks_is_named() {
        let cases: [(&[(&str, &str)], _); 3] = [
            (&[], "it has neither the key `ca.crt` nor `tls.crt` with `tls.key`"),
            (&[("tls.crt", "x")], "it has only one of the keys `tls.crt` and `tls.key`"),
            (
                &[("ca.crt", "x"), ("tls.key", "x")],
                "it has only one of the keys `tls.crt` and `tls.key`",
            ),
        ];
        for (entries, expected) in cases {
            assert_eq!(refusal(&secret(OPAQUE, None, entries)), expected);
        }
    }
}
