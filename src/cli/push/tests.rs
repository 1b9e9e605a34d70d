use clap::Parser;

use super::*;

/// Parses only a push.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    push: PushArgs,
}

fn request(arguments: &str) -> Result<Request> {
    let arguments = ["push"].into_iter().chain(arguments.split_whitespace());
    Program::try_parse_from(arguments)
        .expect("the arguments parse")
        .push
        .request(&mut Terminal::until(&CancellationToken::new()))
}

fn options(arguments: &str) -> PushOptions {
    request(&format!("oci:/a:1 {arguments}")).unwrap().options
}

#[test]
fn without_flags_the_defaults_are_those_of_the_options() {
    let Request { options, alternatives, digest_file, dry_run } = request("oci:/a:1").unwrap();
    assert!(alternatives.is_none());
    let PushOptions {
        source,
        destination,
        platforms,
        format,
        layers,
        retry,
        verify_source,
        pace: _,
        codecs: _,
        custom_resources,
        clues,
        verify_after_push,
        overwrites,
    } = options;
    assert_eq!(source.reference.to_string(), "oci:/a:1");
    assert_eq!(destination.reference.to_string(), "oci:/a:1");
    assert_eq!(platforms, Platforms::One(Platform::of_this_machine()));
    assert_eq!((format, layers, retry), (None, Layers::default(), Retry::default()));
    assert_eq!((custom_resources, clues), (CustomResources::Auto, BundleClues::default()));
    assert!(!verify_source && !verify_after_push);
    assert_eq!(overwrites, None);
    assert_eq!((digest_file, dry_run), (None, false));
}

#[test]
fn what_may_be_overwritten_is_a_digest_or_nothing() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let given = |value: &str| options(&format!("--if-tag-matches {value}")).overwrites;
    assert_eq!(given("nothing"), Some(Overwrites::Nothing));
    assert_eq!(given(digest), Some(Overwrites::Digest(digest.parse().unwrap())));
    let error = request("oci:/a:1 --cr-option only --if-tag-matches nothing").err().unwrap();
    assert_eq!(
        error.to_string(),
        "`--cr-option only` changes no name, so that `--if-tag-matches` means nothing there"
    );
}

#[test]
fn a_destination_without_transport_is_a_docker_name() {
    let cases = [
        ("oci:/b:2", "oci:/b:2"),
        ("r.test:5000/team/app:1", "docker://r.test:5000/team/app:1"),
        ("docker://r.test/app:1", "docker://r.test/app:1"),
    ];
    for (name, expected) in cases {
        assert_eq!(options(name).destination.reference.to_string(), expected);
    }
}

#[test]
fn platforms_follow_their_flags() {
    let arm = Platform::new("linux", "arm", Some("v6"));
    assert_eq!(options("--all").platforms, Platforms::All);
    assert_eq!(options("--platform linux/arm/v6").platforms, Platforms::One(arm));
}

#[test]
fn layers_follow_their_flags() {
    let codec = |format, level| Layers::Compress(Codec::new(format, level).unwrap());
    let cases = [
        ("", Layers::Keep),
        ("-D", Layers::DoNotCompress),
        ("--disable-compression", Layers::DoNotCompress),
        ("--compression-format gzip", codec(Compression::Gzip, None)),
        ("--compression-format zstd", codec(Compression::Zstd, None)),
        ("--compression-format zstd --compression-level 20", codec(Compression::Zstd, Some(20))),
        ("--compression-level 9", codec(Compression::Gzip, Some(9))),
    ];
    for (arguments, expected) in cases {
        assert_eq!(options(arguments).layers, expected, "{arguments}");
    }
}

#[test]
fn the_other_flags_reach_the_options() {
    assert_eq!(options("-f oci").format, Some(ManifestFormat::Oci));
    assert_eq!(options("--format v2s2").format, Some(ManifestFormat::V2s2));
    let delay = Some(Duration::from_millis(1500));
    assert_eq!(options("--retry 0 --retry-delay 1s500ms").retry, Retry { limit: 0, delay });
    assert_eq!(options("--retry-delay 1s500ms").retry, Retry { limit: 3, delay });
    let policies = [
        ("yes", CustomResources::Always),
        ("no", CustomResources::Never),
        ("only", CustomResources::Only),
        ("auto", CustomResources::Auto),
    ];
    for (word, expected) in policies {
        assert_eq!(options(&format!("--cr-option {word}")).custom_resources, expected);
    }
    let request = request("oci:/a:1 --digestfile d").unwrap();
    assert_eq!(request.digest_file, Some("d".into()));
    assert!(super::tests::request("oci:/a:1 --dry-run").unwrap().dry_run);
}

#[test]
fn values_out_of_range_are_bad_usage() {
    let cases = [
        ("--compression-level -1", "compression level -1 is out of range for gzip"),
        ("--compression-level 10", "compression level 10 is out of range for gzip"),
        (
            "--compression-format zstd --compression-level 21",
            "compression level 21 is out of range for zstd",
        ),
        ("--retry 51", "51 retries are more than the limit of 50"),
    ];
    for (arguments, expected) in cases {
        let error = request(&format!("oci:/a:1 {arguments}")).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (2, expected));
    }
}
