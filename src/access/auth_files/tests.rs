//! Which files are looked into, in which order, and what is said of those that can't be read.

use super::*;
use crate::access::{Credential, Secret};

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn files(places: Vec<Place>) -> AuthFiles {
    AuthFiles { places, helpers: Helpers::new(&Variables::new()) }
}

#[test]
fn the_environment_decides_which_files_are_read() {
    let paths = |pairs: &[(&str, &str)]| -> Vec<String> {
        let shown = places(&variables(pairs), 7).into_iter().map(|place| {
            let required = if place.presence == Presence::Required { "!" } else { "" };
            format!("{}{required}", place.path.display())
        });
        shown.collect()
    };
    assert_eq!(paths(&[]), ["/run/containers/7/auth.json"]);
    assert_eq!(
        paths(&[("REGISTRY_AUTH_FILE", "/a"), ("DOCKER_CONFIG", "/d"), ("HOME", "/h")]),
        ["/a!"]
    );
    assert_eq!(
        paths(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r")]),
        ["/d/config.json"]
    );
    assert_eq!(
        paths(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", ""), ("DOCKER_CONFIG", "")]),
        [
            "/run/containers/7/auth.json",
            "/h/.config/containers/auth.json",
            "/h/.docker/config.json",
            "/h/.dockercfg"
        ]
    );
    assert_eq!(
        paths(&[("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c")]),
        ["/r/containers/auth.json", "/c/containers/auth.json"]
    );
}

/// Looks for the credential of `r/x`, to the end.
async fn look(files: &AuthFiles) -> Result<Lookup> {
    files.begin_search("r", "x").await?.into_lookup().await
}

fn optional(path: PathBuf) -> Place {
    Place::File(FilePlace::new(path, Presence::Optional))
}

#[tokio::test]
async fn files_are_tried_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("first"), r#"{"auths":{"a":{"auth":"dTpw"}}}"#).unwrap();
    std::fs::write(path(LEGACY_NAME), r#"{"r":{"auth":"b2xkOnA="}}"#).unwrap();
    let places = ["absent", "first/below", "first", LEGACY_NAME].map(|name| optional(path(name)));
    let lookup = look(&files(places.into())).await.unwrap();
    assert_eq!(lookup.credential, Some(Credential::basic("old", Secret::new("p"))));
    let shown = folder.path().display();
    assert_eq!(
        lookup.looked_at,
        [
            format!("`{shown}/absent`, which is not there"),
            format!("`{shown}/first/below`, which is not there"),
            format!("`{shown}/first`, which has no entry for `r/x`, `r`"),
            format!("`{shown}/.dockercfg`, key `r`"),
        ]
    );
}

/// It may be a pipe, which gives its content once, and both sides of a push look into it.
#[tokio::test]
async fn a_file_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.json");
    std::fs::write(&path, r#"{"auths":{"r":{"auth":"dTpw"}}}"#).unwrap();
    let files = AuthFiles::only(path.clone(), &Variables::new());
    let other = files.clone();
    let found = look(&files).await.unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(look(&other).await.unwrap(), found);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("malformed"), "{\"auths\": canary").unwrap();
    std::fs::write(path("long"), vec![b' '; (MAX_AUTH_FILE + 1).try_into().unwrap()]).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    std::os::unix::fs::symlink("loop", path("loop")).unwrap();
    let cases = [
        ("malformed", "`D/malformed` is not a credential file: malformed at line 1, column 11"),
        ("long", "`D/long` has more than the limit of 1048576 bytes"),
        ("folder", "cannot read `D/folder`: Is a directory (os error 21)"),
        ("loop", "cannot open `D/loop`: Too many levels of symbolic links (os error 40)"),
    ];
    for (name, expected) in cases {
        for presence in [Presence::Required, Presence::Optional] {
            let place = Place::File(FilePlace::new(path(name), presence));
            let error = look(&files(vec![place])).await.unwrap_err();
            let told = error.to_string().replace(folder.path().to_str().unwrap(), "D");
            assert_eq!(told, format!("looking up credentials: {expected}"));
        }
    }
    let named = AuthFiles::only(path("absent"), &Variables::new());
    let error = look(&named).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "looking up credentials: cannot open `{}/absent`: No such file or directory (os error 2)",
            folder.path().display()
        )
    );
}

#[tokio::test]
async fn registries_conf_says_where_to_look_and_in_which_order() {
    let shown = |files: AuthFiles, listed: &[&str]| -> Vec<String> {
        let names = listed.iter().map(|&name| name.to_owned()).collect();
        let listed = CredentialHelpers { names, origin: "/r.conf".to_owned() };
        let places = files.in_order_of(&listed).places.into_iter();
        let shown = places.map(|place| match place {
            Place::File(file) => file.path.display().to_string(),
            Place::Helper { helper, file } => format!("{helper} of {file}"),
        });
        shown.collect()
    };
    let usual = || files(vec![optional("/a".into()), optional("/b".into())]);
    let named = || AuthFiles::only("/named".into(), &Variables::new());
    assert_eq!(shown(usual(), &[FILES]), ["/a", "/b"]);
    assert_eq!(
        shown(usual(), &["x", FILES, "y"]),
        ["x of `/r.conf`", "/a", "/b", "y of `/r.conf`"]
    );
    assert_eq!(shown(usual(), &["x"]), ["x of `/r.conf`"]);
    assert_eq!(shown(named(), &["x", FILES]), ["x of `/r.conf`", "/named"]);
    assert_eq!(shown(named(), &["x"]), ["/named", "x of `/r.conf`"]);
}
