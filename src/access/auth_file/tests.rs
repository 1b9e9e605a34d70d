//! Which entry serves which repository, and what is said when none does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::access::Secret;

/// `user:password` in the form of an entry.
fn auth(user: &str) -> String {
    STANDARD.encode(format!("{user}:canary:with:colons\0"))
}

fn file(json: &str) -> AuthFile {
    AuthFile::parse(json.as_bytes(), "auth.json").unwrap()
}

/// The user of the entry found, or where nothing was found.
fn user_of(file: &AuthFile, registry: &str, repository: &str) -> Result<String, String> {
    let lookup = file.lookup(registry, repository).unwrap();
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
            "https://index.docker.io/v1/":{{"auth":"{}"}}, "empty.io":{{}}, "https://empty.io":{{"auth":"{}"}},
            "s.io/team/app":{{}}, "s.io/team":{{"auth":"{}"}}
        }}}}"#,
        auth("host"),
        auth("team"),
        auth("app"),
        auth("url"),
        auth("hub"),
        auth("other form"),
        auth("above an empty one"),
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
        ("s.io", "team/app", "above an empty one"),
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
    let lookup = file.lookup("r", "a").unwrap();
    let expected = Credential::basic("u", Secret::new("canary:with:colons"));
    assert_eq!(lookup.credential, Some(expected));
    assert_eq!(lookup.looked_at, ["`auth.json`, key `r`"]);
}

#[test]
fn tokens_are_told_apart() {
    let text = r#"{"auths":{"i":{"auth":"dTpw","identitytoken":"canary"},"r":{"registrytoken":"canary"}}}"#;
    let found = |registry| file(text).lookup(registry, "a").unwrap().credential.unwrap();
    assert_eq!(found("i"), Credential::IdentityToken(Secret::new("canary")));
    assert_eq!(found("r"), Credential::RegistryToken(Secret::new("canary")));
}

/// What a file says about a repository: a user, a helper and the addresses to ask it for, or nothing.
fn says(text: &str, registry: &str) -> String {
    match file(text).answer(registry, "team/app").unwrap() {
        Answer::Found(credential, _) => credential.user().to_owned(),
        Answer::Helper(Question { file, helper, addresses }) => {
            assert_eq!(file, "`auth.json`");
            format!("{helper}: {}", addresses.join(" "))
        }
        Answer::Nothing(_) => "nothing".to_owned(),
    }
}

#[test]
fn a_helper_is_asked_as_docker_and_podman_would() {
    let own = r#"{"auths":{"r":{"auth":"dTpw"}},"credHelpers":{"r":"ecr"},"credsStore":"pass"}"#;
    let hub = r#"{"credHelpers":{"https://index.docker.io/v1/":"hub"}}"#;
    let podman_hub = r#"{"credHelpers":{"docker.io":"hub"}}"#;
    let store = r#"{"auths":{"r":{},"https://q/v1/":{},"s":{"auth":"dTpw"}},"credsStore":"pass"}"#;
    let opted_out = r#"{"auths":{"r":{}},"credHelpers":{"r":"","s":""},"credsStore":"pass"}"#;
    let below = r#"{"auths":{"r/team":{"auth":"dTpw"}},"credsStore":"pass"}"#;
    let many = r#"{"auths":{"r":{},"http://r":{},"http://r/":{},"https://r":{},"https://r/":{}},"credsStore":"p"}"#;
    let cases = [
        (own, "r", "ecr: r"),
        (own, "other:5000", "pass: other:5000"),
        (hub, "docker.io", "hub: https://index.docker.io/v1/ docker.io"),
        (podman_hub, "docker.io", "hub: docker.io https://index.docker.io/v1/"),
        (podman_hub, "r", "nothing"),
        (store, "r", "pass: r"),
        (store, "q", "pass: https://q/v1/ q"),
        (store, "s", "u"),
        (store, "docker.io", "pass: https://index.docker.io/v1/ docker.io"),
        (opted_out, "r", "nothing"),
        (opted_out, "s", "nothing"),
        (opted_out, "t", "pass: t"),
        (below, "r", "u"),
        (many, "r", "p: http://r http://r/ https://r https://r/"),
        (r#"{"credsStore":""}"#, "r", "nothing"),
    ];
    for (text, registry, expected) in cases {
        assert_eq!(says(text, registry), expected, "{registry} in {text}");
    }
}

#[test]
fn a_text_alone_leads_to_no_program() {
    let text = r#"{"auths":{"r":{"auth":"dTpw"}},"credHelpers":{"r":"ecr"},"credsStore":"../x"}"#;
    for (registry, helper) in [("r", "ecr"), ("other", "../x")] {
        let place = format!(
            "`auth.json`, which leaves `{registry}` to the credential helper `{helper}` (helpers are not run)"
        );
        assert_eq!(user_of(&file(text), registry, "a"), Err(place));
    }
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
        let error = file.lookup("r", "a").unwrap_err();
        let message = format!("looking up credentials: `auth.json` has {what} for key `r`");
        assert_eq!(error.to_string(), message);
    }
    assert!(!format!("{:?}", file(r#"{"auths":{"r":{"auth":"canary"}}}"#)).contains("canary"));
}
