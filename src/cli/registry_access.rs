//! The flags about registries, and which side each of them holds for.
//!
//! `--authfile`, `--cert-dir` and `--tls-verify` hold for every registry that is named on the command line, `--creds` for the
//! destination if it is a registry, else for the source; the `--source-…` flags hold for the source alone and go before.
//! A flag that would have no effect is an error: whoever gives a password expects it to be used.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::access::{
    Access, AuthFiles, Certificates, Credential, Credentials, Network, Secret, TlsPolicy,
};
use crate::error::{Error, Kind, Result};
use crate::transport::Reference;

/// Flags that every subcommand with a registry takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArgs {
    /// File with credentials of registries, in the form of `auth.json` or Docker's `config.json` [default: the file that
    /// `REGISTRY_AUTH_FILE` names, else `auth.json`, else Docker's `config.json`, in `DOCKER_CONFIG` if that is set]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    authfile: Option<PathBuf>,

    /// Directory with certificates: authorities in `*.crt`, our own in pairs of `*.cert` and `*.key`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cert_dir: Option<PathBuf>,

    /// Credentials for the registry; in a push, for the destination's if it is in one, else for the source's. Other users
    /// of the machine can see them while the program runs; `--authfile` keeps them to yourself
    #[arg(long, value_name = "USER:PASSWORD")]
    creds: Option<Login>,

    /// Verify certificates. With `false`, any certificate is accepted and, where a registry speaks no TLS, plain HTTP;
    /// this holds for the registries named here and for no other host [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
}

/// Flags that hold for the source alone.
#[derive(Debug, Default, Args)]
#[expect(clippy::struct_field_names, reason = "the fields' names are the flags' names")]
#[command(next_help_heading = "Registries")]
pub(crate) struct SourceRegistryArgs {
    /// Credentials for the source
    #[arg(long, value_name = "USER:PASSWORD")]
    source_creds: Option<Login>,

    /// Directory with certificates for the source
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    source_cert_dir: Option<PathBuf>,

    /// Verify certificates of the source [default: as `--tls-verify`]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    source_tls_verify: Option<bool>,
}

/// `USER:PASSWORD` as given. It is cut where a fault can be told without showing it.
#[derive(Clone, Debug)]
pub(crate) struct Login(Secret);

/// What the one side of a command that reads one image may use.
pub(crate) fn of_image(registry: RegistryArgs, reference: &Reference) -> Result<Access> {
    let RegistryArgs { authfile, cert_dir, creds, tls_verify } = registry;
    let named = reference.repository().is_some();
    let useless = |flag| {
        let message = format!("`{flag}` has no use: `{reference}` is not in a registry");
        Error::new(Kind::InvalidOptions, message)
    };
    given_only_if(named, authfile.is_some(), || useless("--authfile"))?;
    given_only_if(named, cert_dir.is_some(), || useless("--cert-dir"))?;
    given_only_if(named, creds.is_some(), || useless("--creds"))?;
    given_only_if(named, tls_verify.is_some(), || useless("--tls-verify"))?;
    let creds = creds.map(|login| login.cut("--creds")).transpose()?;
    let network = Network::of_person();
    Ok(access(named, credentials(creds, authfile), cert_dir, tls_verify, &network))
}

/// What the two sides of a push may use.
pub(crate) fn of_push(
    both: RegistryArgs,
    source_only: SourceRegistryArgs,
    source: &Reference,
    destination: &Reference,
) -> Result<(Access, Access)> {
    let RegistryArgs { authfile, cert_dir, creds, tls_verify } = both;
    let SourceRegistryArgs { source_creds, source_cert_dir, source_tls_verify } = source_only;
    let (from, to) = (source.repository().is_some(), destination.repository().is_some());
    let useless = |flag| {
        let message =
            format!("`{flag}` has no use: neither `{source}` nor `{destination}` is in a registry");
        Error::new(Kind::InvalidOptions, message)
    };
    let useless_source = |flag| {
        Error::new(
            Kind::InvalidOptions,
            format!("`{flag}` has no use: `{source}` is not in a registry"),
        )
    };
    given_only_if(from || to, authfile.is_some(), || useless("--authfile"))?;
    given_only_if(from || to, cert_dir.is_some(), || useless("--cert-dir"))?;
    given_only_if(from || to, creds.is_some(), || useless("--creds"))?;
    given_only_if(from || to, tls_verify.is_some(), || useless("--tls-verify"))?;
    given_only_if(from, source_creds.is_some(), || useless_source("--source-creds"))?;
    given_only_if(from, source_cert_dir.is_some(), || useless_source("--source-cert-dir"))?;
    given_only_if(from, source_tls_verify.is_some(), || useless_source("--source-tls-verify"))?;
    given_only_if(to, creds.is_some() && source_creds.is_some(), || {
        let message = format!("`--creds` and `--source-creds` are both for `{source}`");
        Error::new(Kind::InvalidOptions, message).hint("give one of them")
    })?;

    let creds = creds.map(|login| login.cut("--creds")).transpose()?;
    let source_creds = source_creds.map(|login| login.cut("--source-creds")).transpose()?;
    let (creds_to, creds_from) =
        if to { (creds, source_creds) } else { (None, creds.or(source_creds)) };
    // Both sides may be in one registry, and then share connections.
    let network = Network::of_person();
    let source = access(
        from,
        credentials(creds_from, authfile.clone()),
        source_cert_dir.or_else(|| cert_dir.clone()),
        source_tls_verify.or(tls_verify),
        &network,
    );
    let destination = access(to, credentials(creds_to, authfile), cert_dir, tls_verify, &network);
    Ok((source, destination))
}

fn given_only_if(useful: bool, given: bool, error: impl FnOnce() -> Error) -> Result<()> {
    if given && !useful { Err(error()) } else { Ok(()) }
}

fn credentials(creds: Option<Credential>, authfile: Option<PathBuf>) -> Credentials {
    match (creds, authfile) {
        (Some(credential), _) => Credentials::Explicit(credential),
        (None, Some(file)) => Credentials::from_file(file),
        (None, None) => Credentials::Files(AuthFiles::search(|name| std::env::var_os(name))),
    }
}

/// What one side may use; nothing if it is not in a registry.
fn access(
    registry: bool,
    credentials: Credentials,
    cert_dir: Option<PathBuf>,
    tls_verify: Option<bool>,
    network: &Network,
) -> Access {
    if !registry {
        return Access::default();
    }
    let tls = match tls_verify {
        Some(false) => TlsPolicy::SkipVerifyOrPlainHttp,
        Some(true) | None => TlsPolicy::Verify,
    };
    let certificates = cert_dir.map_or(Certificates::System, Certificates::Directory);
    Access { credentials, certificates, tls, network: network.clone() }
}

// === impl Login ===

impl From<String> for Login {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

impl Login {
    /// Cuts at the first colon, as all tools of the field do: user names have none, passwords may.
    fn cut(&self, flag: &str) -> Result<Credential> {
        match self.0.expose().split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Credential::basic(user, Secret::new(password)))
            }
            _ => {
                let message = format!("`{flag}` lacks a user name or a password");
                let hint = "the form is `USER:PASSWORD`; to keep the password off the command line, use `--authfile`";
                Err(Error::new(Kind::InvalidOptions, message).hint(hint))
            }
        }
    }
}

#[cfg(test)]
mod tests;
