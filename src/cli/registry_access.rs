//! The flags about registries, and which side each of them holds for.
//!
//! `--authfile`, `--cert-dir` and `--tls-verify` hold for every registry that is named on the command line, `--creds` for the
//! destination if it is a registry, else for the source; the `--source-…` flags hold for the source alone and go before.
//! A flag that would have no effect is an error: whoever gives a password expects it to be used.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::login::{Given, Login, Person};
use super::output::Printer;
use crate::access::{
    Access, AuthFiles, CertificateFolders, Certificates, Credentials, Network, TlsPolicy, Variables,
};
use crate::error::{Error, Kind, Result};
use crate::transport::Reference;

/// Flags that every subcommand with a registry takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArgs {
    /// File with credentials of registries, in the form of `auth.json` or Docker's `config.json`; no other file is looked into
    /// [default: the file that `REGISTRY_AUTH_FILE` names, else `config.json` in the folder that `DOCKER_CONFIG` names, else
    /// `auth.json` and Docker's `config.json` in their usual places]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    authfile: Option<PathBuf>,

    /// Directory with certificates: authorities in `*.crt`, our own in a pair of `*.cert` and `*.key` [default: the
    /// first `certs.d/HOST:PORT` that is in `~/.config/containers`, `/etc/containers` or `/etc/docker`]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cert_dir: Option<PathBuf>,

    /// Credentials for the registry; in a push, for the destination's if it is in one, else for the source's. What is missing
    /// is asked for at the terminal. A password given here can be seen by other users of the machine while the program runs
    #[arg(long, value_name = "USER[:PASSWORD]")]
    creds: Option<Login>,

    /// Read these credentials, `USER:PASSWORD`, from a line of standard input
    #[arg(long, conflicts_with = "creds")]
    creds_stdin: bool,

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
    /// Credentials for the source. What is missing is asked for at the terminal
    #[arg(long, value_name = "USER[:PASSWORD]")]
    source_creds: Option<Login>,

    /// Read the source's credentials, `USER:PASSWORD`, from a line of standard input: the first, if another is for the
    /// destination
    #[arg(long, conflicts_with = "source_creds")]
    source_creds_stdin: bool,

    /// Directory with certificates for the source
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    source_cert_dir: Option<PathBuf>,

    /// Verify certificates of the source [default: as `--tls-verify`]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    source_tls_verify: Option<bool>,
}

/// Says so where a password stands among the arguments, which others can see.
pub(crate) fn warn(
    both: &RegistryArgs,
    source_only: Option<&SourceRegistryArgs>,
    printer: &Printer,
) {
    let source_creds = source_only.and_then(|flags| flags.source_creds.as_ref());
    for (flag, login) in [("--creds", both.creds.as_ref()), ("--source-creds", source_creds)] {
        if login.is_some_and(Login::shows_password) {
            printer.say(&format!(
                "note: others on this machine can see the password of `{flag}` while this runs; \
                 `{flag} USER` asks for it, `{flag}-stdin` and `--authfile` read it"
            ));
        }
    }
}

/// What the one side of a command that reads one image may use. Asks for what is missing of credentials.
pub(crate) fn of_image(
    registry: RegistryArgs,
    reference: &Reference,
    person: &mut dyn Person,
) -> Result<Access> {
    let RegistryArgs { authfile, cert_dir, creds, creds_stdin, tls_verify } = registry;
    let named = reference.repository().is_some();
    let useless = |flag| {
        let message = format!("`{flag}` has no use: `{reference}` is not in a registry");
        Error::new(Kind::InvalidOptions, message)
    };
    given_only_if(named, authfile.is_some(), || useless("--authfile"))?;
    given_only_if(named, cert_dir.is_some(), || useless("--cert-dir"))?;
    given_only_if(named, creds.is_some(), || useless("--creds"))?;
    given_only_if(named, creds_stdin, || useless("--creds-stdin"))?;
    given_only_if(named, tls_verify.is_some(), || useless("--tls-verify"))?;
    let given = Given::new(["--creds", "--creds-stdin"], creds, creds_stdin);
    let variables = variables();
    let files = files(authfile, &variables);
    let credentials = credentials(reference, given, &files, person)?;
    let certificates = certificates(cert_dir, &variables);
    Ok(access(reference, credentials, certificates, tls_verify, &Network::of_person()))
}

/// What the two sides of a push may use. Asks for what is missing of credentials, for the source first.
pub(crate) fn of_push(
    both: RegistryArgs,
    source_only: SourceRegistryArgs,
    source: &Reference,
    destination: &Reference,
    person: &mut dyn Person,
) -> Result<(Access, Access)> {
    check_use(&both, &source_only, source, destination)?;
    let RegistryArgs { authfile, cert_dir, creds, creds_stdin, tls_verify } = both;
    let SourceRegistryArgs { source_creds, source_creds_stdin, source_cert_dir, source_tls_verify } =
        source_only;
    let creds = Given::new(["--creds", "--creds-stdin"], creds, creds_stdin);
    let source_creds =
        Given::new(["--source-creds", "--source-creds-stdin"], source_creds, source_creds_stdin);
    let (creds_from, creds_to) = if destination.repository().is_some() {
        (source_creds, creds)
    } else {
        (creds.or(source_creds), None)
    };
    // Both sides may be in one registry, and then share connections. They share what is read in any case.
    let (network, variables) = (Network::of_person(), variables());
    let files = files(authfile, &variables);
    let source_access = access(
        source,
        credentials(source, creds_from, &files, person)?,
        certificates(source_cert_dir.or_else(|| cert_dir.clone()), &variables),
        source_tls_verify.or(tls_verify),
        &network,
    );
    let destination_access = access(
        destination,
        credentials(destination, creds_to, &files, person)?,
        certificates(cert_dir, &variables),
        tls_verify,
        &network,
    );
    Ok((source_access, destination_access))
}

/// Refuses flags that would have no effect, and two that mean the same side.
fn check_use(
    both: &RegistryArgs,
    source_only: &SourceRegistryArgs,
    source: &Reference,
    destination: &Reference,
) -> Result<()> {
    let RegistryArgs { authfile, cert_dir, creds, creds_stdin, tls_verify } = both;
    let SourceRegistryArgs { source_creds, source_creds_stdin, source_cert_dir, source_tls_verify } =
        source_only;
    let (from, to) = (source.repository().is_some(), destination.repository().is_some());
    let invalid = |message| Error::new(Kind::InvalidOptions, message);
    for (flag, given) in [
        ("--authfile", authfile.is_some()),
        ("--cert-dir", cert_dir.is_some()),
        ("--creds", creds.is_some()),
        ("--creds-stdin", *creds_stdin),
        ("--tls-verify", tls_verify.is_some()),
    ] {
        given_only_if(from || to, given, || {
            invalid(format!(
                "`{flag}` has no use: neither `{source}` nor `{destination}` is in a registry"
            ))
        })?;
    }
    for (flag, given) in [
        ("--source-creds", source_creds.is_some()),
        ("--source-creds-stdin", *source_creds_stdin),
        ("--source-cert-dir", source_cert_dir.is_some()),
        ("--source-tls-verify", source_tls_verify.is_some()),
    ] {
        given_only_if(from, given, || {
            invalid(format!("`{flag}` has no use: `{source}` is not in a registry"))
        })?;
    }
    let shared = creds.is_some() || *creds_stdin;
    let own = source_creds.is_some() || *source_creds_stdin;
    given_only_if(to, shared && own, || {
        invalid(format!("`--creds` and `--source-creds` are both for `{source}`"))
            .hint("give one of them")
    })
}

fn given_only_if(useful: bool, given: bool, error: impl FnOnce() -> Error) -> Result<()> {
    if given && !useful { Err(error()) } else { Ok(()) }
}

fn variables() -> Variables {
    std::env::vars_os().collect()
}

fn files(authfile: Option<PathBuf>, variables: &Variables) -> AuthFiles {
    match authfile {
        Some(file) => AuthFiles::only(file, variables),
        None => AuthFiles::search(variables),
    }
}

fn certificates(cert_dir: Option<PathBuf>, variables: &Variables) -> Certificates {
    match cert_dir {
        Some(folder) => Certificates::Directory(folder),
        None => Certificates::Search(CertificateFolders::usual(variables)),
    }
}

fn credentials(
    reference: &Reference,
    given: Option<Given>,
    files: &AuthFiles,
    person: &mut dyn Person,
) -> Result<Credentials> {
    match (given, reference.repository()) {
        (Some(given), Some(repository)) => {
            given.credential(&repository.registry, person).map(Credentials::Explicit)
        }
        _ => Ok(Credentials::Files(files.clone())),
    }
}

/// What one side may use; nothing if it is not in a registry.
fn access(
    reference: &Reference,
    credentials: Credentials,
    certificates: Certificates,
    tls_verify: Option<bool>,
    network: &Network,
) -> Access {
    if reference.repository().is_none() {
        return Access::default();
    }
    let tls = match tls_verify {
        Some(false) => TlsPolicy::SkipVerifyOrPlainHttp,
        Some(true) | None => TlsPolicy::Verify,
    };
    Access { credentials, certificates, tls, network: network.clone() }
}

#[cfg(test)]
mod tests;
