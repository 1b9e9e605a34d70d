use super::*;
use crate::access::{Credential, Secret};
use crate::transport;

const REGISTRY: &str = "docker://one.test/a:1";
const OTHER: &str = "docker://two.test/b:2";
const FILE: &str = "oci:/images:c";

fn both(
    flags: RegistryArgs,
    source: SourceRegistryArgs,
    from: &str,
    to: &str,
) -> Result<(Access, Access)> {
    let (from, to) = (transport::parse(from)?, transport::parse(to)?);
    let conf = Arc::default();
    let none = DestinationRegistryArgs::default();
    of_push(flags, source, none, (&from, &to), &conf, &mut Typing::default())
}

/// Somebody who types these lines and gives others on standard input, and what they were asked.
#[derive(Default)]
struct Typing {
    types: Vec<&'static str>,
    gives: Vec<&'static str>,
    asked: Vec<String>,
}

impl Person for Typing {
    fn ask(&mut self, prompt: &str) -> Result<String> {
        self.asked.push(prompt.to_owned());
        Ok(self.types.remove(0).to_owned())
    }

    fn ask_hidden(&mut self, prompt: &str) -> Result<Secret> {
        self.asked.push(format!("{prompt}(hidden)"));
        Ok(Secret::new(self.types.remove(0)))
    }

    fn next_line(&mut self) -> Result<Secret> {
        Ok(Secret::new(self.gives.remove(0)))
    }
}

fn login(text: &str) -> Login {
    Login::from(text.to_owned())
}

/// The user of explicit credentials, the policy and the certificates, in a line.
fn shown(access: &Access) -> String {
    let credentials = match &access.credentials {
        Credentials::Explicit(credential) => credential.user().to_owned(),
        other => format!("{other:?}").split('(').next().unwrap_or_default().to_owned(),
    };
    let certificates = match &access.certificates {
        Certificates::Search(_) => "Search".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{credentials} {:?} {certificates}", access.tls)
}

#[test]
fn shared_flags_hold_for_both_registries() {
    let flags = || RegistryArgs {
        cert_dir: Some("/certs".into()),
        tls_verify: Some(false),
        creds: Some(login("to:p")),
        ..RegistryArgs::default()
    };
    let (from, to) = both(flags(), SourceRegistryArgs::default(), REGISTRY, OTHER).unwrap();
    let certificates = "Directory(\"/certs\")";
    assert_eq!(shown(&from), format!("Files SkipVerifyOrPlainHttp {certificates}"));
    assert_eq!(shown(&to), format!("to SkipVerifyOrPlainHttp {certificates}"));

    let source = SourceRegistryArgs {
        source_creds: Some(login("from:p")),
        source_creds_stdin: false,
        source_cert_dir: Some("/own".into()),
        source_tls_verify: Some(true),
        foreign_layer_host: vec![],
    };
    let (from, to) = both(flags(), source, REGISTRY, OTHER).unwrap();
    assert_eq!(shown(&from), "from Verify Directory(\"/own\")");
    assert_eq!(shown(&to), format!("to SkipVerifyOrPlainHttp {certificates}"));
}

#[test]
fn plain_http_is_for_both_unless_the_source_is_said_to_speak_tls() {
    for (source_tls_verify, from_expected) in
        [(None, "PlainHttp"), (Some(true), "Verify"), (Some(false), "SkipVerifyOrPlainHttp")]
    {
        let flags = RegistryArgs { plain_http: true, ..RegistryArgs::default() };
        let source = SourceRegistryArgs { source_tls_verify, ..SourceRegistryArgs::default() };
        let (from, to) = both(flags, source, REGISTRY, OTHER).unwrap();
        let policies = [&from, &to].map(|side| format!("{:?}", side.tls));
        assert_eq!(policies, [from_expected, "PlainHttp"]);
    }
}

#[test]
fn credentials_are_for_the_source_where_the_destination_is_no_registry() {
    let flags = RegistryArgs { creds: Some(login("user:pass:word")), ..RegistryArgs::default() };
    let (from, to) = both(flags, SourceRegistryArgs::default(), REGISTRY, FILE).unwrap();
    let expected = Credential::basic("user", Secret::new("pass:word"));
    assert!(matches!(from.credentials, Credentials::Explicit(found) if found == expected));
    assert_eq!(shown(&to), "Anonymous Verify System");
}

#[test]
fn a_flag_for_a_source_that_is_read_elsewhere_is_an_error() {
    let conf = "[[registry]]\nprefix = \"one.test\"\nlocation = \"inner.test\"";
    let conf = Arc::new(RegistriesConf::parse(conf, "f.conf").unwrap());
    let source = transport::parse(REGISTRY).unwrap();
    let flags = || RegistryArgs { creds: Some(login("a:b")), ..RegistryArgs::default() };
    let own =
        || SourceRegistryArgs { source_creds: Some(login("a:b")), ..SourceRegistryArgs::default() };
    let told = |both, own, to| {
        let to = transport::parse(to).unwrap();
        let person = &mut Typing::default();
        let none = DestinationRegistryArgs::default();
        of_push(both, own, none, (&source, &to), &conf, person).err().map(|error| error.to_string())
    };
    let useless = |flag| {
        format!("`{flag}` has no use: registries.conf has `{REGISTRY}` read at another host")
    };
    assert_eq!(told(flags(), SourceRegistryArgs::default(), FILE), Some(useless("--creds")));
    assert_eq!(told(flags(), own(), OTHER), Some(useless("--source-creds")));
    assert_eq!(told(flags(), SourceRegistryArgs::default(), OTHER), None);
    assert_eq!(told(RegistryArgs::default(), SourceRegistryArgs::default(), FILE), None);
    let error = of_image(flags(), &source, &conf, &mut Typing::default()).unwrap_err();
    assert_eq!(error.to_string(), useless("--creds"));
}

#[test]
fn a_flag_without_use_is_an_error() {
    let none = SourceRegistryArgs::default;
    let flags = RegistryArgs::default;
    let cases = [
        (
            RegistryArgs { creds: Some(login("a:b")), ..flags() },
            none(),
            FILE,
            "`--creds` has no use: neither `oci:/images:c` nor `oci:/images:c` is in a registry",
        ),
        (
            RegistryArgs { authfile: Some("f".into()), ..flags() },
            none(),
            FILE,
            "`--authfile` has no use: neither `oci:/images:c` nor `oci:/images:c` is in a registry",
        ),
        (
            RegistryArgs { cert_dir: Some("d".into()), ..flags() },
            none(),
            FILE,
            "`--cert-dir` has no use: neither `oci:/images:c` nor `oci:/images:c` is in a registry",
        ),
        (
            RegistryArgs { creds_stdin: true, ..flags() },
            none(),
            FILE,
            "`--creds-stdin` has no use: neither `oci:/images:c` nor `oci:/images:c` is in a registry",
        ),
        (
            RegistryArgs { plain_http: true, ..flags() },
            none(),
            FILE,
            "`--plain-http` has no use: neither `oci:/images:c` nor `oci:/images:c` is in a registry",
        ),
        (
            RegistryArgs { tls_verify: Some(true), ..flags() },
            none(),
            FILE,
            "`--tls-verify` has no use: neither `oci:/images:c` nor `oci:/images:c` is in a registry",
        ),
        (
            flags(),
            SourceRegistryArgs { source_creds: Some(login("a:b")), ..none() },
            REGISTRY,
            "`--source-creds` has no use: `oci:/images:c` is not in a registry",
        ),
        (
            flags(),
            SourceRegistryArgs { source_creds_stdin: true, ..none() },
            REGISTRY,
            "`--source-creds-stdin` has no use: `oci:/images:c` is not in a registry",
        ),
        (
            flags(),
            SourceRegistryArgs { source_cert_dir: Some("d".into()), ..none() },
            REGISTRY,
            "`--source-cert-dir` has no use: `oci:/images:c` is not in a registry",
        ),
        (
            flags(),
            SourceRegistryArgs { source_tls_verify: Some(true), ..none() },
            REGISTRY,
            "`--source-tls-verify` has no use: `oci:/images:c` is not in a registry",
        ),
    ];
    for (flags, source, to, expected) in cases {
        let error = both(flags, source, FILE, to).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (2, expected));
    }
}

#[test]
fn two_credentials_for_one_side_are_an_error() {
    let flags = RegistryArgs { creds: Some(login("a:b")), ..RegistryArgs::default() };
    let source =
        SourceRegistryArgs { source_creds: Some(login("c:d")), ..SourceRegistryArgs::default() };
    let error = both(flags, source, REGISTRY, FILE).unwrap_err();
    let expected = "`--creds` and `--source-creds` are both for `docker://one.test/a:1`";
    assert_eq!((error.exit_code(), error.to_string().as_str()), (2, expected));
}

/// User and password of explicit credentials.
fn explicit(access: &Access) -> (&str, &str) {
    match &access.credentials {
        Credentials::Explicit(Credential::Basic { username, password }) => {
            (username, password.expose())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_missing_is_asked_for() {
    let image = transport::parse(REGISTRY).unwrap();
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("user:p:w", &[], &[]),
        ("user", &["p:w"], &["password of user for one.test: (hidden)"]),
        ("", &["user", "p:w"], &["user for one.test: ", "password of user for one.test: (hidden)"]),
        (":p:w", &["user"], &["user for one.test: "]),
    ];
    for (text, types, asked) in cases {
        let flags = RegistryArgs { creds: Some(login(text)), ..RegistryArgs::default() };
        let mut person = Typing { types: types.to_vec(), ..Typing::default() };
        let access = of_image(flags, &image, &Arc::default(), &mut person).unwrap();
        assert_eq!(
            (explicit(&access), person.asked),
            (("user", "p:w"), asked.iter().map(|&it| it.to_owned()).collect())
        );
    }
}

#[test]
fn hosts_for_uploads_are_for_a_destination_in_a_registry() {
    let (from, to) = (transport::parse(REGISTRY).unwrap(), transport::parse(FILE).unwrap());
    let hosts = || vec!["one.test=up.test".parse().unwrap()];
    let none = DestinationRegistryArgs::default;
    for (flag, flags) in [
        ("--upload-host", DestinationRegistryArgs { upload_host: hosts(), ..none() }),
        (
            "--upload-host-with-credentials",
            DestinationRegistryArgs { upload_host_with_credentials: hosts(), ..none() },
        ),
    ] {
        let (both, source) = (RegistryArgs::default(), SourceRegistryArgs::default());
        let mut person = Typing::default();
        let conf = Arc::default();
        let error = of_push(both, source, flags, (&from, &to), &conf, &mut person).unwrap_err();
        let message = format!("`{flag}` has no use: `{FILE}` is not in a registry");
        assert_eq!((error.exit_code(), error.to_string()), (2, message));
        let (both, source) = (RegistryArgs::default(), SourceRegistryArgs::default());
        let typo = vec!["One.test=up.test".parse().unwrap()];
        let flags = DestinationRegistryArgs { upload_host: typo, ..none() };
        let error = of_push(both, source, flags, (&to, &from), &conf, &mut person).unwrap_err();
        let message = format!("`One.test=up.test` has no use: `{REGISTRY}` is in another registry");
        assert_eq!((error.exit_code(), error.to_string()), (2, message));
    }
}

#[test]
fn standard_input_has_the_sources_line_first() {
    let flags = RegistryArgs { creds_stdin: true, ..RegistryArgs::default() };
    let source = SourceRegistryArgs { source_creds_stdin: true, ..SourceRegistryArgs::default() };
    let (from, to) = (transport::parse(REGISTRY).unwrap(), transport::parse(OTHER).unwrap());
    let mut person = Typing { gives: vec!["a:1", "b:2"], ..Typing::default() };
    let none = DestinationRegistryArgs::default();
    let sides = (&from, &to);
    let (from, to) = of_push(flags, source, none, sides, &Arc::default(), &mut person).unwrap();
    assert_eq!((explicit(&from), explicit(&to)), (("a", "1"), ("b", "2")));
}

#[test]
fn incomplete_credentials_are_refused_without_being_shown() {
    let image = transport::parse(REGISTRY).unwrap();
    for (text, types, expected) in [
        ("canary", &[""][..], "no password was given"),
        (":canary", &[""], "no user name was given"),
        ("", &["canary", ""], "no password was given"),
    ] {
        let flags = RegistryArgs { creds: Some(login(text)), ..RegistryArgs::default() };
        let shown_arguments = format!("{flags:?}");
        let mut person = Typing { types: types.to_vec(), ..Typing::default() };
        let error = of_image(flags, &image, &Arc::default(), &mut person).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?} {:?} {shown_arguments}", error.next_step()).contains("canary"));
    }
    for line in ["canary", "canary:", ":canary", ""] {
        let flags = RegistryArgs { creds_stdin: true, ..RegistryArgs::default() };
        let mut person = Typing { gives: vec![line], ..Typing::default() };
        let error = of_image(flags, &image, &Arc::default(), &mut person).unwrap_err();
        assert_eq!(error.to_string(), "`--creds-stdin` finds no user name and password");
        assert!(!format!("{error:?} {:?}", error.next_step()).contains("canary"));
    }
}
