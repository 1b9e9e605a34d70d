//! The flags about registries, and which side each of them holds for.
//!
//! `--authfile`, `--cert-dir` and `--tls-verify` hold for every registry that is named on the command line, `--creds` for the
//! destination if it is a registry, else for the source; the `--source-…` flags hold for the source alone and go before, the
//! `--upload-…` flags for the destination alone.
//! A flag that would have no effect is an error: whoever gives a password expects it to be used.

mod checks;

use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use checks::{of_one_registry, of_one_source};
use clap::{Args, ValueHint};

use super::login::{Given, Login, Person};
use super::output::Printer;
use crate::access::{
    Access, AuthFiles, CertificateFolders, Certificates, Credentials, Elsewhere, LayerHost,
    Network, Registries, RegistriesConf, TlsPolicy, TokenServer, UploadHost, Variables,
};
use crate::error::Result;
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

    /// Speak plain HTTP to the registries named here, and to no other host, without trying TLS first
    #[arg(long, conflicts_with_all = ["tls_verify", "cert_dir"])]
    plain_http: bool,

    /// Let the token server HOST have the credentials of REGISTRY. Without this, they go to the registry's own host and
    /// domain only
    #[arg(long, value_name = "REGISTRY=HOST[:PORT]")]
    token_server: Vec<TokenServer>,
}

/// Flags that hold for the source alone.
#[derive(Debug, Default, Args)]
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

    /// Verify certificates of the source [default: as `--tls-verify` and `--plain-http` say]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    source_tls_verify: Option<bool>,

    /// Fetch foreign layers that the source registry doesn't hold from HOST, if their `urls` lead there and the destination
    /// has to hold them. Without this, no such URL is fetched
    #[arg(long, value_name = "HOST[:PORT]")]
    foreign_layer_host: Vec<LayerHost>,
}

/// Flags that hold for the destination alone.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct DestinationRegistryArgs {
    /// Let REGISTRY have blobs sent to HOST, without credentials. Without this, they are sent to the registry itself only
    #[arg(long, value_name = "REGISTRY=HOST[:PORT]")]
    upload_host: Vec<UploadHost>,

    /// The same, and let HOST have the credentials that are for REGISTRY
    #[arg(long, value_name = "REGISTRY=HOST[:PORT]")]
    upload_host_with_credentials: Vec<UploadHost>,
}

/// What all sides of a command have in common.
struct Shared<'a> {
    files: AuthFiles,
    folders: CertificateFolders,
    conf: &'a Arc<RegistriesConf>,
    /// Both sides may be in one registry, and then share connections.
    network: Network,
}

/// What `registries.conf` says, if one of these is in a registry: other pushes don't depend on it.
pub(crate) fn conf(references: &[&Reference]) -> Result<Arc<RegistriesConf>> {
    if references.iter().all(|reference| reference.repository().is_none()) {
        return Ok(Arc::default());
    }
    RegistriesConf::load(|name| std::env::var_os(name)).map(Arc::new)
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
    conf: &Arc<RegistriesConf>,
    person: &mut dyn Person,
) -> Result<Access> {
    checks::use_of_image(&registry, reference, conf)?;
    let RegistryArgs {
        authfile,
        cert_dir,
        creds,
        creds_stdin,
        tls_verify,
        plain_http,
        token_server,
    } = registry;
    let given = Given::new(["--creds", "--creds-stdin"], creds, creds_stdin);
    let elsewhere = Elsewhere { token_servers: token_server, ..Elsewhere::default() };
    let shared = Shared::new(authfile, conf, elsewhere);
    let credentials = shared.credentials(reference, given, person)?;
    let tls = Tls { verify: tls_verify, plain_http };
    Ok(shared.access(reference, credentials, cert_dir, tls))
}

/// What the two sides of a push may use. Asks for what is missing of credentials, for the source first.
pub(crate) fn of_push(
    both: RegistryArgs,
    source_only: SourceRegistryArgs,
    destination_only: DestinationRegistryArgs,
    (source, destination): (&Reference, &Reference),
    conf: &Arc<RegistriesConf>,
    person: &mut dyn Person,
) -> Result<(Access, Access)> {
    checks::use_of_push(&both, &source_only, source, destination)?;
    checks::use_at_destination(&destination_only, destination)?;
    checks::place(&both, &source_only, (source, destination), conf)?;
    let RegistryArgs {
        authfile,
        cert_dir,
        creds,
        creds_stdin,
        tls_verify,
        plain_http,
        token_server,
    } = both;
    let SourceRegistryArgs {
        source_creds,
        source_creds_stdin,
        source_cert_dir,
        source_tls_verify,
        foreign_layer_host,
    } = source_only;
    let creds = Given::new(["--creds", "--creds-stdin"], creds, creds_stdin);
    let source_creds =
        Given::new(["--source-creds", "--source-creds-stdin"], source_creds, source_creds_stdin);
    let (creds_from, creds_to) = if destination.repository().is_some() {
        (source_creds, creds)
    } else {
        (creds.or(source_creds), None)
    };
    let DestinationRegistryArgs { upload_host, upload_host_with_credentials } = destination_only;
    let elsewhere = Elsewhere {
        token_servers: token_server,
        upload_hosts: upload_host,
        upload_hosts_with_credentials: upload_host_with_credentials,
        layer_hosts: foreign_layer_host,
    };
    let shared = Shared::new(authfile, conf, elsewhere);
    let source_access = shared.access(
        source,
        shared.credentials(source, creds_from, person)?,
        source_cert_dir.or_else(|| cert_dir.clone()),
        Tls {
            verify: source_tls_verify.or(tls_verify),
            plain_http: plain_http && source_tls_verify.is_none(),
        },
    );
    let destination_credentials = shared.credentials(destination, creds_to, person)?;
    let tls = Tls { verify: tls_verify, plain_http };
    let destination_access = shared.access(destination, destination_credentials, cert_dir, tls);
    Ok((source_access, destination_access))
}

fn variables() -> Variables {
    std::env::vars_os().collect()
}

/// What the flags say of one side's TLS.
#[derive(Clone, Copy)]
struct Tls {
    verify: Option<bool>,
    plain_http: bool,
}

// === impl Tls ===

impl Tls {
    fn policy(self) -> TlsPolicy {
        match self.verify {
            _ if self.plain_http => TlsPolicy::PlainHttp,
            Some(false) => TlsPolicy::SkipVerifyOrPlainHttp,
            Some(true) | None => TlsPolicy::Verify,
        }
    }
}

// === impl Shared ===

impl<'a> Shared<'a> {
    fn new(authfile: Option<PathBuf>, conf: &'a Arc<RegistriesConf>, elsewhere: Elsewhere) -> Self {
        let variables = variables();
        let files = match authfile {
            Some(file) => AuthFiles::only(file, &variables),
            None => AuthFiles::search(&variables),
        };
        let folders = CertificateFolders::usual(&variables);
        let files = match conf.credential_helpers() {
            Some(listed) => files.in_order_of(listed),
            None => files,
        };
        Self { files, folders, conf, network: Network::of_person_trusting(elsewhere) }
    }

    fn credentials(
        &self,
        reference: &Reference,
        given: Option<Given>,
        person: &mut dyn Person,
    ) -> Result<Credentials> {
        match (given, reference.repository()) {
            (Some(given), Some(repository)) => {
                given.credential(&repository.registry, person).map(Credentials::Explicit)
            }
            _ => Ok(Credentials::Files(self.files.clone())),
        }
    }

    /// What one side may use; nothing if it is not in a registry.
    fn access(
        &self,
        reference: &Reference,
        credentials: Credentials,
        cert_dir: Option<PathBuf>,
        tls: Tls,
    ) -> Access {
        if reference.repository().is_none() {
            return Access::default();
        }
        let searched = Certificates::Search(self.folders.clone());
        let registries = Registries {
            conf: Arc::clone(self.conf),
            tls_verify: if tls.plain_http { Some(false) } else { tls.verify },
            other_credentials: Credentials::Files(self.files.clone()),
            other_certificates: searched.clone(),
        };
        let certificates = cert_dir.map_or(searched, Certificates::Directory);
        let tls = tls.policy();
        Access {
            credentials,
            certificates,
            tls,
            network: self.network.clone(),
            registries,
            root: None,
            scratch_bytes: None,
        }
    }
}

#[cfg(test)]
mod tests;
