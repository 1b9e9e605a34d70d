use super::*;

/// A machine and a user's home, in a directory.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            machine.write(name, text);
        }
        machine
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// What is read, with `variables` beside `HOME`; paths are relative to the machine.
    fn load(&self, variables: &[(&str, &str)]) -> Result<RegistriesConf, String> {
        let root = self.0.path();
        let environment = |name: &str| match name {
            "HOME" => Some(root.join("home").into_os_string()),
            name => {
                let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
                let path = if value.is_empty() { PathBuf::new() } else { root.join(value) };
                Some(path.into_os_string())
            }
        };
        let conf = RegistriesConf::load_from(environment, &root.join("etc"), false);
        conf.map_err(|error| self.relative(&format!("{} {error}", error.kind())))
    }

    fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }

    /// The files that were read.
    fn files(&self, variables: &[(&str, &str)]) -> Vec<String> {
        let conf = self.load(variables).unwrap();
        conf.files.iter().map(|file| self.relative(file)).collect()
    }
}

const USER: &str = "home/.config/containers/registries.conf";

#[test]
fn files_are_read_in_their_order() {
    let machine = Machine::new(&[
        ("etc/registries.conf", ""),
        ("etc/registries.conf.d/b.conf", ""),
        ("etc/registries.conf.d/a.conf", ""),
        ("etc/registries.conf.d/c.txt", "?"),
        ("etc/registries.conf.d/d.conf/x.conf", "?"),
        ("home/.config/containers/registries.conf.d/0.conf", ""),
        ("home/.cache/containers/short-name-aliases.conf", ""),
        ("other/named.conf", ""),
    ]);
    let drop_ins = [
        "etc/registries.conf.d/a.conf",
        "etc/registries.conf.d/b.conf",
        "home/.config/containers/registries.conf.d/0.conf",
        "home/.cache/containers/short-name-aliases.conf",
    ];
    let with = |main: &'static str| [&[main], &drop_ins[..]].concat();
    assert_eq!(machine.files(&[]), with("etc/registries.conf"));
    let named = ("CONTAINERS_REGISTRIES_CONF", "other/named.conf");
    let older = ("REGISTRIES_CONFIG_PATH", "etc/registries.conf");
    assert_eq!(machine.files(&[named]), with("other/named.conf"));
    assert_eq!(machine.files(&[older, named]), with("other/named.conf"));
    assert_eq!(machine.files(&[older]), with("etc/registries.conf"));
    assert_eq!(machine.files(&[("CONTAINERS_REGISTRIES_CONF", "")]), with("etc/registries.conf"));
    machine.write(USER, "");
    assert_eq!(machine.files(&[]), [&[USER], &drop_ins[2..]].concat());
    assert_eq!(machine.files(&[named]), with("other/named.conf"));
    assert_eq!(Machine::new(&[]).load(&[]), Ok(RegistriesConf::default()));
}

#[test]
fn a_later_file_changes_what_an_earlier_one_says() {
    let machine = Machine::new(&[
        (
            "etc/registries.conf",
            r#"
            unqualified-search-registries = ["a.io"]
            short-name-mode = "enforcing"
            [[registry]]
            location = "one.io"
            insecure = true
            [[registry]]
            location = "two.io"
            [aliases]
            x = "r.io/x"
            y = "r.io/y"
            "#,
        ),
        (
            "etc/registries.conf.d/1.conf",
            r#"
            unqualified-search-registries = ["b.io", "c.io"]
            [[registry]]
            prefix = "one.io"
            location = "new.io"
            [aliases]
            x = "s.io/x"
            y = ""
            "#,
        ),
        ("etc/registries.conf.d/2.conf", "short-name-mode = \"disabled\""),
    ]);
    let conf = machine.load(&[]).unwrap();
    assert_eq!(conf.entry("one.io/a:1").unwrap().places("one.io/a:1", false)[0].0, "new.io/a:1");
    assert!(!conf.entry("one.io/a:1").unwrap().insecure);
    assert!(conf.entry("two.io/a:1").is_some());
    assert_eq!(conf.resolve("x:1").unwrap().names, ["s.io/x:1"]);
    assert_eq!(conf.resolve("y").unwrap().names, ["b.io/y", "c.io/y"]);
    let because = conf.resolve("y").unwrap().because;
    let expected = "`unqualified-search-registries` in `etc/registries.conf.d/1.conf`";
    assert_eq!(machine.relative(&because), expected);
}

#[test]
fn a_file_that_is_wrong_says_which_it_is() {
    let big = "#".repeat((1 << 20) + 1);
    let cases: [(&str, &str, &str); 4] = [
        (
            "etc/registries.conf",
            "[[registry]]\nlocation = \"https://x\"",
            "InvalidOptions reading `etc/registries.conf`: \
             the location `https://x` has a scheme; write `x`",
        ),
        (
            "etc/registries.conf.d/old.conf",
            "[registries.search]\nregistries = [\"a.io\"]",
            "InvalidOptions reading `etc/registries.conf.d/old.conf`: \
             it is in version 1 of its format (`[registries.…]`), which is not read",
        ),
        (
            "etc/registries.conf",
            &big,
            "LimitExceeded `etc/registries.conf` has more than the limit of 1048576 bytes",
        ),
        (
            USER,
            "\u{0}",
            "InvalidOptions reading `home/.config/containers/registries.conf`: \
             line 1: key with no value, expected `=`",
        ),
    ];
    for (name, text, expected) in cases {
        assert_eq!(Machine::new(&[(name, text)]).load(&[]), Err(expected.to_owned()));
    }
    let absent = Machine::new(&[]).load(&[("REGISTRIES_CONFIG_PATH", "none")]).unwrap_err();
    assert_eq!(absent, "NotFound reading registries.conf: there is no file `none`");
    let many = Machine::new(&[]);
    for number in 0..=MAX_DROP_INS {
        many.write(&format!("etc/registries.conf.d/{number}.conf"), "");
    }
    assert_eq!(
        many.load(&[]).unwrap_err(),
        "LimitExceeded `etc/registries.conf.d` has more than 256 files"
    );
}

#[test]
fn a_directory_in_the_place_of_a_file_is_an_error() {
    let machine = Machine::new(&[("etc/registries.conf/x", "")]);
    let error = machine.load(&[]).unwrap_err();
    assert!(error.starts_with("StorageFailed reading registries.conf: cannot read"), "{error}");
}

#[test]
fn a_short_name_without_a_meaning_says_where_was_looked() {
    let machine = Machine::new(&[("etc/registries.conf", "")]);
    let error = machine.load(&[]).unwrap().resolve("app:1").unwrap_err();
    assert_eq!(
        machine.relative(&error.to_string()),
        "`app:1` did not resolve to an image: it has no alias, and no unqualified-search \
         registries are defined (looked in `etc/registries.conf`)"
    );
    assert_eq!(
        error.next_step(),
        Some("name it in full, as in `docker://docker.io/library/app:1`")
    );
    let error = RegistriesConf::default().resolve("app").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`app` did not resolve to an image: it has no alias, and no unqualified-search \
         registries are defined (there is no `registries.conf`)"
    );
    assert_eq!(error.exit_code(), 2);
}
