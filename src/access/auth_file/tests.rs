//! Which entry serves which repository, and what is said when none does.

use super::*;

/// `user:password` in the form of an entry.
fn auth(user: &str) -> String {
    STANDARD.encode(format!("{user}:canary:with:colons\0"))
}

fn file(json: &str) -> AuthFile {
    AuthFile::parse(json.as_bytes(), "auth.json").unwrap()
}

/// The user of the entry found, or where nothing was found.
fn user_of(file: &AuthFile, registry: &str, repository: &str) -> Result<String, String> {
    let lookup = AuthFiles::of([file.clone()]).lookup(registry, repository).unwrap();
    match lookup.credential {
        Some(credential) => Ok(credential.user().to_owned()),
        None => Err(lookup.looked_at.concat()),
    }
}

#[test]
fn the_most_specific_key_of_the_own_host_wins() {
    let file = file(&format!(
        r#"{{"auths":{{
            "r:5000":{{"auth":"{}"}}, "r:5000/team":{{"auth":"{}"}}, "r:5000/team/app":{{"auth":"{}"}},
            "https://q.io/v2/":{{"auth":"{}"}}, "plain.io":{{"username":"plain","password":"p"}},
            "https://index.docker.io/v1/":{{"auth":"{}"}}, "empty.io":{{}}, "https://empty.io":{{"auth":"{}"}}
        }}}}"#,
        auth("host"),
        auth("team"),
        auth("app"),
        auth("url"),
        auth("hub"),
        auth("other form"),
    ));
    let cases = [
        ("r:5000", "x", "host"),
        ("r:5000", "team/app", "app"),
        ("r:5000", "team/app/sub", "app"),
        ("r:5000", "team/other", "team"),
        ("r:5000", "teams", "host"),
        ("q.io", "a/b", "url"),
        ("docker.io", "library/busybox", "hub"),
        ("plain.io", "a", "plain"),
        ("empty.io", "a", "other form"),
    ];
    for (registry, repository, user) in cases {
        assert_eq!(user_of(&file, registry, repository), Ok(user.into()), "{registry}");
    }
    for (registry, message) in [
        ("r", "`auth.json`, which has no entry for `r/a`, `r`"),
        ("r:5001", "`auth.json`, which has no entry for `r:5001/a`, `r:5001`"),
        ("evil.q.io", "`auth.json`, which has no entry for `evil.q.io/a`, `evil.q.io`"),
    ] {
        assert_eq!(user_of(&file, registry, "a"), Err(message.into()));
    }
}

#[test]
fn passwords_keep_their_colons_and_lose_padding() {
    let file = file(&format!(r#"{{"auths":{{"r":{{"auth":"{}"}}}}}}"#, auth("u")));
    let lookup = AuthFiles::of([file]).lookup("r", "a").unwrap();
    let expected = Credential::basic("u", Secret::new("canary:with:colons"));
    assert_eq!(lookup.credential, Some(expected));
    assert_eq!(lookup.looked_at, ["`auth.json`, key `r`"]);
}

#[test]
fn identity_tokens_and_helpers_are_told_apart() {
    let file = file(
        r#"{"auths":{"t":{"auth":"","identitytoken":"canary"}},"credHelpers":{"h":"ecr"},"credsStore":"pass"}"#,
    );
    let lookup = AuthFiles::of([file.clone()]).lookup("t", "a").unwrap();
    assert_eq!(lookup.credential, Some(Credential::IdentityToken(Secret::new("canary"))));
    assert_eq!(
        user_of(&file, "h", "a").unwrap_err(),
        "`auth.json`, which leaves `h` to the credential helper `ecr` (helpers are not run)"
    );
    assert_eq!(
        user_of(&file, "other", "a").unwrap_err(),
        "`auth.json`, which leaves `other` to the credential helper `pass` (helpers are not run)"
    );
}

#[test]
fn malformed_files_are_named_and_never_quoted() {
    let parse = |text: &str| AuthFile::parse(text.as_bytes(), "secret ns/pull").unwrap_err();
    for (text, place) in [
        ("canary", "line 1, column 1"),
        (r#"{"auths":{"r":{"auth":["canary"]}}}"#, "line 1, column 22"),
        (r#"{"auths":"canary"}"#, "line 1, column 17"),
    ] {
        let message = format!("`secret ns/pull` is not a credential file: malformed at {place}");
        assert_eq!(parse(text).to_string(), message);
    }
    let no_colon = STANDARD.encode("canary");
    for (auth, what) in [
        ("canary!", "an `auth` that is not base64"),
        (&no_colon, "an `auth` without a colon between user and password"),
        ("//8=", "an `auth` that is not text"),
    ] {
        let file = file(&format!(r#"{{"auths":{{"r":{{"auth":"{auth}"}}}}}}"#));
        let error = AuthFiles::of([file]).lookup("r", "a").unwrap_err();
        let message = format!("looking up credentials: `auth.json` has {what} for key `r`");
        assert_eq!(error.to_string(), message);
    }
    assert!(!format!("{:?}", file(r#"{"auths":{"r":{"auth":"canary"}}}"#)).contains("canary"));
}

#[test]
fn the_environment_decides_which_files_are_read() {
    let paths = |variables: &[(&str, &str)]| -> Vec<String> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let files = AuthFiles::search_as(|name| variables.get(name).map(OsString::from), 7);
        let shown = files.places.iter().map(|place| match place {
            Place::Required(path) => format!("{}!", path.display()),
            Place::Usual(path) => path.display().to_string(),
            Place::Text(_) => unreachable!("no text is read from the environment"),
        });
        shown.collect()
    };
    assert_eq!(paths(&[]), ["/run/containers/7/auth.json"]);
    assert_eq!(paths(&[("REGISTRY_AUTH_FILE", "/a"), ("HOME", "/h")]), ["/a!"]);
    assert_eq!(
        paths(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "")]),
        [
            "/run/containers/7/auth.json",
            "/h/.config/containers/auth.json",
            "/h/.docker/config.json",
            "/h/.dockercfg"
        ]
    );
    assert_eq!(
        paths(&[("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
        ["/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"]
    );
}

#[test]
fn files_are_tried_in_order_and_a_named_one_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("first"), r#"{"auths":{"a":{"auth":"dTpw"}}}"#).unwrap();
    std::fs::write(path(LEGACY_NAME), r#"{"r":{"auth":"b2xkOnA="}}"#).unwrap();
    let places = ["absent", "first", LEGACY_NAME].map(|name| Place::Usual(path(name)));
    let lookup = AuthFiles { places: places.into() }.lookup("r", "x").unwrap();
    assert_eq!(lookup.credential, Some(Credential::basic("old", Secret::new("p"))));
    let shown = folder.path().display();
    assert_eq!(
        lookup.looked_at,
        [
            format!("`{shown}/absent`, which is not there"),
            format!("`{shown}/first`, which has no entry for `r/x`, `r`"),
            format!("`{shown}/.dockercfg`, key `r`"),
        ]
    );
    let error = AuthFiles::only(path("absent")).lookup("r", "x").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "looking up credentials: cannot open `{shown}/absent`: No such file or directory (os error 2)"
        )
    );
}
