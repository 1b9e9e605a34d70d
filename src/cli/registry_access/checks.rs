//! Flags about registries that would have no effect, or would not mean what they seem to: each is an error.

use super::{DestinationRegistryArgs, RegistryArgs, SourceRegistryArgs};
use crate::access::RegistriesConf;
use crate::cli::source_name::Alternatives;
use crate::error::{Error, Kind, Result, Side};
use crate::transport::Reference;

/// The name of a flag, and whether it was given.
type Flag = (&'static str, bool);

// === impl RegistryArgs ===

impl RegistryArgs {
    fn flags(&self) -> [Flag; 7] {
        let Self { authfile, cert_dir, creds, creds_stdin, tls_verify, plain_http, token_server } =
            self;
        [
            ("--authfile", authfile.is_some()),
            ("--cert-dir", cert_dir.is_some()),
            ("--creds", creds.is_some()),
            ("--creds-stdin", *creds_stdin),
            ("--tls-verify", tls_verify.is_some()),
            ("--plain-http", *plain_http),
            ("--token-server", !token_server.is_empty()),
        ]
    }

    /// Those that are about the very registry that was named.
    fn flags_of_one_registry(&self) -> [Flag; 5] {
        let Self {
            authfile: _,
            cert_dir,
            creds,
            creds_stdin,
            tls_verify,
            plain_http,
            token_server: _,
        } = self;
        [
            ("--creds", creds.is_some()),
            ("--creds-stdin", *creds_stdin),
            ("--cert-dir", cert_dir.is_some()),
            ("--tls-verify=false", *tls_verify == Some(false)),
            ("--plain-http", *plain_http),
        ]
    }
}

/// Refuses flags that would have no effect on reading one image.
pub(super) fn use_of_image(
    registry: &RegistryArgs,
    reference: &Reference,
    conf: &RegistriesConf,
) -> Result<()> {
    if reference.repository().is_none() {
        none_given(registry.flags(), |flag| {
            format!("`{flag}` has no use: `{reference}` is not in a registry")
        })?;
    }
    refuse_elsewhere(registry.flags_of_one_registry(), reference, conf)
}

/// Refuses flags that would have no effect on a push, and two that mean the same side.
pub(super) fn use_of_push(
    both: &RegistryArgs,
    source_only: &SourceRegistryArgs,
    source: &Reference,
    destination: &Reference,
) -> Result<()> {
    let SourceRegistryArgs {
        source_creds,
        source_creds_stdin,
        source_cert_dir,
        source_tls_verify,
        foreign_layer_host,
    } = source_only;
    let (from, to) = (source.repository().is_some(), destination.repository().is_some());
    if !(from || to) {
        none_given(both.flags(), |flag| {
            format!("`{flag}` has no use: neither `{source}` nor `{destination}` is in a registry")
        })?;
    }
    if !from {
        let flags = [
            ("--source-creds", source_creds.is_some()),
            ("--source-creds-stdin", *source_creds_stdin),
            ("--source-cert-dir", source_cert_dir.is_some()),
            ("--source-tls-verify", source_tls_verify.is_some()),
            ("--foreign-layer-host", !foreign_layer_host.is_empty()),
        ];
        none_given(flags, |flag| format!("`{flag}` has no use: `{source}` is not in a registry"))?;
    }
    let shared = both.creds.is_some() || both.creds_stdin;
    let own = source_creds.is_some() || *source_creds_stdin;
    if !to && shared && own {
        let message = format!("`--creds` and `--source-creds` are both for `{source}`");
        return Err(Error::new(Kind::InvalidOptions, message).hint("give one of them"));
    }
    Ok(())
}

/// Refuses flags about uploads that would have no effect.
pub(super) fn use_at_destination(
    flags: &DestinationRegistryArgs,
    destination: &Reference,
) -> Result<()> {
    let DestinationRegistryArgs { upload_host, upload_host_with_credentials } = flags;
    if let Some(repository) = destination.repository() {
        let hosts = upload_host.iter().chain(upload_host_with_credentials);
        return match hosts.into_iter().find(|host| !host.is_of(&repository.registry)) {
            Some(other) => {
                let message =
                    format!("`{other}` has no use: `{destination}` is in another registry");
                let hint = format!("name the registry as `{}`", repository.registry);
                Err(Error::new(Kind::InvalidOptions, message).hint(hint))
            }
            None => Ok(()),
        };
    }
    let flags = [
        ("--upload-host", !upload_host.is_empty()),
        ("--upload-host-with-credentials", !upload_host_with_credentials.is_empty()),
    ];
    none_given(flags, |flag| format!("`{flag}` has no use: `{destination}` is not in a registry"))
}

/// Refuses flags that hold for a source which is read at another host only.
pub(super) fn place(
    both: &RegistryArgs,
    source_only: &SourceRegistryArgs,
    (source, destination): (&Reference, &Reference),
    conf: &RegistriesConf,
) -> Result<()> {
    let of_source = [
        ("--source-creds", source_only.source_creds.is_some()),
        ("--source-creds-stdin", source_only.source_creds_stdin),
        ("--source-cert-dir", source_only.source_cert_dir.is_some()),
        ("--source-tls-verify=false", source_only.source_tls_verify == Some(false)),
    ];
    // Where the destination is in a registry, the flags of both sides are of use there.
    let of_both = both.flags_of_one_registry().into_iter();
    let of_both = of_both.filter(|_| destination.repository().is_none());
    let flags = of_source.into_iter().chain(of_both);
    refuse_elsewhere(flags, source, conf).map_err(|error| error.on(Side::Source))
}

/// Refuses flags that hold for one registry where a short name may be in any of several.
pub(crate) fn of_one_registry(
    registry: &RegistryArgs,
    alternatives: Option<&Alternatives>,
) -> Result<()> {
    refuse_several(registry.flags_of_one_registry(), alternatives)
}

/// The same for the source of a push, for which the flags of both sides hold as well.
pub(crate) fn of_one_source(
    both: &RegistryArgs,
    source: &SourceRegistryArgs,
    destination: &Reference,
    alternatives: Option<&Alternatives>,
) -> Result<()> {
    let RegistryArgs {
        authfile: _,
        cert_dir,
        creds,
        creds_stdin,
        tls_verify,
        plain_http,
        token_server: _,
    } = both;
    let SourceRegistryArgs {
        source_creds,
        source_creds_stdin,
        source_cert_dir,
        source_tls_verify,
        foreign_layer_host: _,
    } = source;
    let for_source = destination.repository().is_none();
    let insecure = source_tls_verify.or(*tls_verify) == Some(false);
    let flags = [
        ("--source-creds", source_creds.is_some()),
        ("--source-creds-stdin", *source_creds_stdin),
        ("--creds", for_source && creds.is_some()),
        ("--creds-stdin", for_source && *creds_stdin),
        ("--source-cert-dir", source_cert_dir.is_some()),
        ("--cert-dir", cert_dir.is_some()),
        ("--tls-verify=false", insecure),
        ("--plain-http", *plain_http && source_tls_verify.is_none()),
    ];
    refuse_several(flags, alternatives)
}

fn first_given(flags: impl IntoIterator<Item = Flag>) -> Option<&'static str> {
    flags.into_iter().find_map(|(flag, given)| given.then_some(flag))
}

fn none_given(
    flags: impl IntoIterator<Item = Flag>,
    message: impl FnOnce(&str) -> String,
) -> Result<()> {
    match first_given(flags) {
        Some(flag) => Err(Error::new(Kind::InvalidOptions, message(flag))),
        None => Ok(()),
    }
}

fn refuse_elsewhere(
    flags: impl IntoIterator<Item = Flag>,
    source: &Reference,
    conf: &RegistriesConf,
) -> Result<()> {
    let named = source.to_string();
    let name = named.strip_prefix("docker://").unwrap_or(&named);
    match first_given(flags) {
        Some(flag) if conf.is_read_elsewhere(name, source.digest().is_some()) => {
            let message =
                format!("`{flag}` has no use: registries.conf has `{named}` read at another host");
            Err(Error::new(Kind::InvalidOptions, message)
                .hint("name the image where it is read, or leave the flag out"))
        }
        _ => Ok(()),
    }
}

fn refuse_several(
    flags: impl IntoIterator<Item = Flag>,
    alternatives: Option<&Alternatives>,
) -> Result<()> {
    let several = alternatives.filter(|alternatives| alternatives.are_several());
    let (Some(several), Some(flag)) = (several, first_given(flags)) else { return Ok(()) };
    let name = several.given();
    let message = format!("`{flag}` holds for one registry, and `{name}` may be in any of several");
    Err(Error::new(Kind::InvalidOptions, message)
        .on(Side::Source)
        .hint("name the image in full, as `docker://HOST/NAME`"))
}
