//! `registries.conf` as the program reads it: the same outcome as skopeo has with the same file, and short names.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::run::{program, shown};
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{self, Content};
use crate::support::tools::skopeo;

/// A directory with a `registries.conf`.
fn folder_with(conf: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("registries.conf"), conf).unwrap();
    folder
}

/// Puts an image into a registry, by skopeo.
fn seed(folder: &Path, image: &Content, registry: &DockerRegistry, name: &str) {
    let layout = folder.join(image.digest().replace(':', "-"));
    if !layout.exists() {
        image.write_layout(&layout, Some("1"));
    }
    let (from, to) =
        (format!("oci:{}:1", layout.display()), format!("docker://{}/{name}", registry.host));
    skopeo(&["copy", "--dest-tls-verify=false", &from, &to]);
}

fn ours(folder: &Path, arguments: &[&str]) -> Output {
    let conf = folder.join("registries.conf");
    program(folder, arguments).env("CONTAINERS_REGISTRIES_CONF", conf).output().unwrap()
}

fn theirs(folder: &Path, arguments: &[&str]) -> Output {
    let conf = folder.join("registries.conf").display().to_string();
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "--registries-conf", &conf]).args(arguments);
    command.env("HOME", folder).output().unwrap()
}

/// The digest of what a name is for us.
fn our_digest(folder: &Path, name: &str) -> Option<String> {
    let output = ours(folder, &["inspect", name, "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    document["digest"].as_str().map(str::to_owned)
}

fn their_digest(folder: &Path, name: &str) -> Option<String> {
    let output = theirs(folder, &["inspect", "--raw", name]);
    output.status.success().then(|| images::digest(&output.stdout))
}

/// Entries of every kind, for two registries that speak plain HTTP.
fn one_of_each(a: &str, b: &str) -> String {
    format!(
        r#"
        [[registry]]
        location = "{a}"
        insecure = true
        [[registry]]
        prefix = "mirrored.test"
        location = "{a}"
        insecure = true
        [[registry.mirror]]
        location = "{b}"
        insecure = true
        [[registry]]
        prefix = "moved.test/x"
        location = "{b}/team"
        insecure = true
        [[registry]]
        prefix = "strict.test"
        location = "{b}"
        [[registry]]
        location = "blocked.test"
        blocked = true
        [[registry]]
        location = "{a}/locked"
        insecure = true
        blocked = true
        [[registry]]
        location = "never.test"
        blocked = true
        [[registry.mirror]]
        location = "{b}"
        insecure = true
        [[registry]]
        prefix = "*.wild.test"
        [[registry.mirror]]
        location = "{b}"
        insecure = true
        pull-from-mirror = "tag-only"
        "#
    )
}

#[test]
fn a_file_has_the_same_outcome_as_with_skopeo() {
    let (one, two) = (DockerRegistry::plain(), DockerRegistry::plain());
    let (a, b) = (&one.host, &two.host);
    let folder = folder_with(&one_of_each(a, b));
    let folder = folder.path();
    let (x, y) = (images::image(1), images::image(2));
    seed(folder, &x, &one, "app:1");
    seed(folder, &x, &one, "only-one:1");
    seed(folder, &x, &one, "locked/app:1");
    seed(folder, &y, &two, "app:1");
    seed(folder, &x, &two, "team/app:1");
    let (x, y) = (Some(x.digest()), Some(y.digest()));
    let cases = [
        (format!("{a}/app:1"), x),
        (format!("{b}/app:1"), None),
        ("mirrored.test/app:1".into(), y),
        ("mirrored.test/only-one:1".into(), x),
        ("mirrored.test/none:1".into(), None),
        ("moved.test/x/app:1".into(), x),
        ("strict.test/app:1".into(), None),
        ("blocked.test/app:1".into(), None),
        (format!("{a}/locked/app:1"), None),
        ("never.test/app:1".into(), y),
        ("never.test/only-one:1".into(), None),
        ("a.b.wild.test/app:1".into(), y),
    ];
    for (name, expected) in cases {
        let name = format!("docker://{name}");
        let found = (our_digest(folder, &name), their_digest(folder, &name));
        assert_eq!((found.0.as_deref(), found.1.as_deref()), (expected, expected), "{name}");
    }

    let from = format!("oci:{}:1", folder.join(x.unwrap().replace(':', "-")).display());
    for (name, expected) in [
        (format!("{a}/new:1"), true),
        (format!("{b}/new:1"), false),
        ("blocked.test/new:1".into(), false),
        (format!("{a}/locked/new:1"), false),
        ("moved.test/x/new:1".into(), false),
    ] {
        let name = format!("docker://{name}");
        let pushed = ours(folder, &["push", "-q", "--retry", "0", &from, &name]).status.success();
        let copied = theirs(folder, &["copy", "-q", &from, &name]).status.success();
        assert_eq!((pushed, copied), (expected, expected), "{name}");
    }
    assert!(two.requests().iter().all(|request| !request.path.contains("/team/new/")));
}

#[test]
fn the_old_form_is_refused_with_the_new_one() {
    let folder = folder_with("[registries.insecure]\nregistries = [\"one.test\"]\n");
    let output = ours(folder.path(), &["inspect", "docker://one.test/app"]);
    assert_eq!(
        shown(&output).replace(&folder.path().display().to_string(), "[folder]"),
        "exit 2\n--- stdout\n--- stderr\n\
         error: reading `[folder]/registries.conf`: \
         it is in version 1 of its format (`[registries.…]`), which is not read\n\
         hint: replace what stands below `[registries.…]` by this, which says the same:\n\
         [[registry]]\nlocation = \"one.test\"\ninsecure = true\n"
    );
}

#[test]
fn a_push_between_files_does_not_depend_on_the_file() {
    let folder = folder_with("[registries.insecure]\nregistries = [\"one.test\"]\n");
    images::image(1).write_layout(&folder.path().join("a"), Some("1"));
    let output = ours(folder.path(), &["push", "-q", "oci:a:1", "oci:b:1"]);
    assert!(output.status.success(), "{}", shown(&output));
}

/// A folder with a file that searches two registries, and in the second the images `team/app:1` and `app:2`.
fn searching(a: &str, two: &DockerRegistry) -> tempfile::TempDir {
    let b = &two.host;
    let insecure = |host: &str| format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n");
    let folder = folder_with(&format!(
        "unqualified-search-registries = [\"{a}\", \"{b}\"]\n{}{}[aliases]\n\"named\" = \"{b}/team/app\"\n",
        insecure(a),
        insecure(b)
    ));
    let image = images::image(1);
    seed(folder.path(), &image, two, "team/app:1");
    seed(folder.path(), &image, two, "app:2");
    folder
}

/// What a push prints, with other names for what differs from run to run.
fn push(folder: &Path, arguments: &[&str], a: &str, b: &str) -> String {
    let output = ours(folder, &[&["push"], arguments].concat());
    let text = shown(&output).replace(&folder.display().to_string(), "[folder]");
    text.replace(a, "ONE").replace(b, "TWO")
}

#[test]
fn a_short_name_is_an_alias_or_is_searched_for() {
    let (one, two) = (DockerRegistry::plain(), DockerRegistry::plain());
    let (a, b) = (&one.host.clone(), &two.host);
    let folder = searching(a, &two);
    let folder = folder.path();
    let push = |arguments: &[&str]| push(folder, arguments, a, b);
    let file = "`[folder]/registries.conf`";
    let alias = push(&["named:1", "dir:x"]);
    let told = format!("`named:1` is `docker://TWO/team/app:1` by the alias `named` in {file}\n");
    assert!(alias.starts_with("exit 0\n") && alias.contains(&told), "{alias}");
    let searched = push(&["app:2", "dir:y"]);
    let told =
        format!("`app:2` is `docker://TWO/app:2` by `unqualified-search-registries` in {file}\n");
    assert!(searched.starts_with("exit 0\n") && searched.contains(&told), "{searched}");

    // A registry that can't be asked must not decide which image is meant.
    drop(one);
    let down = push(&["--retry", "0", "app:2", "dir:z"]);
    assert!(down.starts_with("exit 75\n") && !down.contains("TWO"), "{down}");
    assert!(!folder.join("z").exists());
}

#[test]
fn a_short_name_that_means_nothing_says_why() {
    let (one, two) = (DockerRegistry::plain(), DockerRegistry::plain());
    let (a, b) = (&one.host, &two.host);
    let folder = searching(a, &two);
    let file = "`[folder]/registries.conf`";
    let error = |text: &str| format!("--- stdout\n--- stderr\nerror: {text}\n");
    let cases: [(&[&str], String); 4] = [
        (
            &["none:1", "dir:z"],
            format!(
                "exit 1\n{}side: source\n",
                error(&format!(
                    "looking for `none:1` by `unqualified-search-registries` in {file}: \
                     none of the names has an image: \
                     reading manifest `1` of `docker://ONE/none`: the registry answered 404 Not Found \
                     (MANIFEST_UNKNOWN: manifest unknown); \
                     reading manifest `1` of `docker://TWO/none`: the registry answered 404 Not Found \
                     (MANIFEST_UNKNOWN: manifest unknown)"
                ))
            ),
        ),
        (
            &["app:2"],
            format!(
                "exit 2\n{}side: destination\n\
                 hint: name the destination, as in `imagepush push app:2 docker://HOST/app:2`\n",
                error("`app:2` is a short name, which says nothing about where to write it")
            ),
        ),
        (
            &["--creds", "user", "app:2", "dir:z"],
            format!(
                "exit 2\n{}side: source\nhint: name the image in full, as `docker://HOST/NAME`\n",
                error("`--creds` holds for one registry, and `app:2` may be in any of several")
            ),
        ),
        (
            &["--tls-verify=false", "app:2", "dir:z"],
            format!(
                "exit 2\n{}side: source\nhint: name the image in full, as `docker://HOST/NAME`\n",
                error(
                    "`--tls-verify=false` holds for one registry, and `app:2` may be in any of several"
                )
            ),
        ),
    ];
    for (arguments, expected) in cases {
        assert_eq!(push(folder.path(), arguments, a, b), expected);
    }
}
