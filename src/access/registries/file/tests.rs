use super::*;

fn parsed(text: &str) -> Result<File, Fault> {
    File::parse(text, "f.conf")
}

fn refused(text: &str) -> String {
    let Fault { message, hint } = parsed(text).unwrap_err();
    assert_eq!(hint, [""; 0]);
    message
}

#[test]
fn every_key_is_read() {
    let text = r#"
        unqualified-search-registries = ["a.io", "b.io:5000/"]
        short-name-mode = "enforcing"
        credential-helpers = ["containers-auth.json", "pass"]
        future = 1

        [[registry]]
        prefix = "example.com/foo/"
        location = "inner.example.com/bar/"
        insecure = true
        blocked = true

        [[registry.mirror]]
        location = "m1.example.com"
        pull-from-mirror = "digest-only"

        [[registry.mirror]]
        location = "m2.example.com/x"
        insecure = true
        pull-from-mirror = "tag-only"

        [[registry]]
        location = "plain.example.com"
        mirror-by-digest-only = true
        mirror = [{ location = "m3.example.com" }]

        [[registry]]
        prefix = "*.Example.org"
        mirror = [{ location = "m4.example.com", pull-from-mirror = "all" }]

        [aliases]
        "busybox" = "docker.io/library/busybox"
        "gone" = ""
    "#;
    let mirror =
        |location: &str, insecure, pulls| Mirror { location: location.into(), insecure, pulls };
    let plain = Entry {
        prefix: Prefix::Name("plain.example.com".into()),
        location: Some("plain.example.com".into()),
        insecure: false,
        blocked: false,
        mirrors: vec![mirror("m3.example.com", false, Pulls::DigestOnly)],
        origin: "f.conf".into(),
    };
    let expected = File {
        entries: vec![
            Entry {
                prefix: Prefix::Name("example.com/foo".into()),
                location: Some("inner.example.com/bar".into()),
                insecure: true,
                blocked: true,
                mirrors: vec![
                    mirror("m1.example.com", false, Pulls::DigestOnly),
                    mirror("m2.example.com/x", true, Pulls::TagOnly),
                ],
                ..plain.clone()
            },
            plain.clone(),
            Entry {
                prefix: Prefix::Subdomains(".example.org".into()),
                location: None,
                mirrors: vec![mirror("m4.example.com", false, Pulls::All)],
                ..plain
            },
        ],
        search: Some(vec!["a.io".into(), "b.io:5000".into()]),
        mode: Some(Mode::Enforcing),
        aliases: BTreeMap::from([
            ("busybox".into(), "docker.io/library/busybox".into()),
            ("gone".into(), String::new()),
        ]),
        credential_helpers: vec!["containers-auth.json".into(), "pass".into()],
    };
    assert_eq!(parsed(text), Ok(expected));
    assert_eq!(parsed("short-name-mode = \"\""), Ok(File::default()));
}

fn entry(keys: &str) -> String {
    format!("[[registry]]\n{keys}")
}

fn mirror(keys: &str) -> String {
    entry(&format!("prefix = \"a.io\"\n[[registry.mirror]]\n{keys}"))
}

fn many(count: usize) -> String {
    "[[registry]]\nlocation = \"a.io\"\n".repeat(count)
}

fn check_refused(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        assert_eq!(refused(text), *expected, "{text}");
    }
}

#[test]
fn an_entry_that_is_wrong_is_named() {
    check_refused(&[
        (
            entry("location = \"https://a.io/x\""),
            "the location `https://a.io/x` has a scheme; write `a.io/x`",
        ),
        (
            entry("prefix = \"docker://a.io\"\nlocation = \"b.io\""),
            "the location `docker://a.io` has a scheme; write `a.io`",
        ),
        (
            mirror("location = \"http://m.io\""),
            "the location `http://m.io` has a scheme; write `m.io`",
        ),
        (entry("location = \"a b\""), "the location `a b` has characters that no name has"),
        (entry("insecure = true"), "an entry has neither `prefix` nor `location`"),
        (mirror("insecure = true"), "a mirror of `a.io` has no `location`"),
        (
            entry("prefix = \"a.io\"\npull-from-mirror = \"all\""),
            "`a.io` has `pull-from-mirror`, which only a mirror may have",
        ),
        (
            mirror("location = \"m.io\"\npull-from-mirror = \"never\""),
            "mirror `m.io` of `a.io` has the `pull-from-mirror` `never`, \
             which is none of `all`, `digest-only` and `tag-only`",
        ),
        (
            entry(
                "prefix = \"a.io\"\nmirror-by-digest-only = true\n\
                 mirror = [{ location = \"m.io\", pull-from-mirror = \"all\" }]",
            ),
            "mirror `m.io` of `a.io` has `pull-from-mirror`, which `mirror-by-digest-only` excludes",
        ),
        (entry("prefix = \"*.a.io/x\""), "`*.a.io/x` is not of the form `*.example.com`"),
        (entry("prefix = \"*a.io\""), "`*a.io` is not of the form `*.example.com`"),
        (
            entry("prefix = \"a.*.io\""),
            "`a.*.io` has an asterisk in it, which may only stand at the start",
        ),
        (
            format!("{}blocked = true\n{}", many(1), many(1)),
            "`a.io` has two entries that say different things",
        ),
    ]);
}

#[test]
fn other_keys_that_are_wrong_are_named() {
    check_refused(&[
        (
            "unqualified-search-registries = [\"a.io/x\"]".into(),
            "`unqualified-search-registries` has `a.io/x`, which is not `HOST` or `HOST:PORT`",
        ),
        (
            "short-name-mode = \"ask\"".into(),
            "`short-name-mode` is `ask`, which is none of `enforcing`, `permissive` and `disabled`",
        ),
        (
            "[aliases]\n\"a:1\" = \"r.io/a\"".into(),
            "the alias `a:1` is not a short name without tag and digest",
        ),
        (
            entry("location = \"a.io\"\ninsecure = \"yes\""),
            "line 3: invalid type: string \"yes\", expected a boolean",
        ),
        ("\n\n[[registry".into(), "line 3: unclosed array table, expected `]]`"),
        (entry("location = \"a.io\"\nBlocked = true"), "the key `Blocked` is written `blocked`"),
        (mirror("Location = \"m.io\""), "the key `Location` is written `location`"),
        ("Registry = []".into(), "the key `Registry` is written `registry`"),
    ]);
}

#[test]
fn there_is_a_bound_to_everything() {
    let mirrors = "[[registry.mirror]]\nlocation = \"m.io\"\n".repeat(33);
    let hosts = vec!["\"a.io\""; 33].join(", ");
    check_refused(&[
        (many(4097), "there are more than 4096 entries `[[registry]]`"),
        (
            format!("[[registry]]\nlocation = \"a.io\"\n{mirrors}"),
            "`a.io` has more than 32 mirrors",
        ),
        (
            format!("unqualified-search-registries = [{hosts}]"),
            "`unqualified-search-registries` has more than 32 entries",
        ),
    ]);
}

#[test]
fn version_1_is_refused_with_what_it_says_in_version_2() {
    let text = r#"
        [registries.search]
        registries = ["one.io", "two.io"]
        [registries.insecure]
        registries = ["three.io:5000/", "bad\"host"]
        [registries.block]
        registries = ["three.io:5000", "four.io"]
    "#;
    let fault = parsed(text).unwrap_err();
    assert_eq!(
        fault.message,
        "it is in version 1 of its format (`[registries.…]`), which is not read"
    );
    assert_eq!(
        fault.hint,
        [
            "replace what stands below `[registries.…]` by this, which says the same:",
            "unqualified-search-registries = [\"one.io\", \"two.io\"]",
            "",
            "[[registry]]",
            "location = 'bad\"host'",
            "insecure = true",
            "",
            "[[registry]]",
            "location = \"four.io\"",
            "blocked = true",
            "",
            "[[registry]]",
            "location = \"three.io:5000\"",
            "insecure = true",
            "blocked = true",
        ]
    );
    let file = parsed(&fault.hint[1..].join("\n")).unwrap();
    let said = file.entries.iter().map(|entry| (entry.prefix.to_string(), entry.blocked));
    let said: Vec<_> = said.collect();
    assert_eq!(file.search.unwrap(), ["one.io", "two.io"]);
    assert_eq!(
        said,
        [
            ("bad\"host".to_owned(), false),
            ("four.io".to_owned(), true),
            ("three.io:5000".to_owned(), true)
        ]
    );

    let mixed = parsed(&format!("short-name-mode = \"disabled\"\n{text}")).unwrap_err();
    let message = "it mixes version 1 of its format (`[registries.…]`) with version 2";
    assert_eq!((mixed.message.as_str(), mixed.hint), (message, fault.hint));
    assert_eq!(parsed("[registries.search]\nregistries = []"), Ok(File::default()));
}
