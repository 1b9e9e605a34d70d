//! What a registry serves is what was asked for, or nothing of it is written: digests, sizes and types of manifests and blobs.

use imagepush::access::Access;
use imagepush::image::{Digest, Manifest, MediaType};
use imagepush::transport::Role;

use super::harness::*;
use crate::support::push;
use crate::support::registry::{Act, Registry, Rule};

/// A registry that has `image` as `app:1`.
async fn serving(image: &Image) -> Registry {
    let registry = Registry::start().await;
    let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
    put(&*to, image).await.unwrap();
    registry.take_log();
    registry
}

fn pushing(from: &str, to: &Registry) -> imagepush::options::PushOptions {
    let destination = format!("docker://{}/copy:1", to.host);
    let mut options = push::options(&format!("docker://{from}"), &destination);
    let access: Access = plain();
    (options.source.access, options.destination.access) = (access.clone(), access);
    options
}

/// Why an image is not pushed; the destination is left as it was, without a session that somebody has to clean up.
async fn refused(from: &Registry, name: &str) -> String {
    let to = Registry::start().await;
    let options = pushing(&format!("{}/{name}", from.host), &to);
    let error = push::run(&options).await.expect_err("this is not to be pushed");
    assert_eq!((to.tags().len(), to.open_sessions()), (0, 0), "{error}");
    assert_eq!(error.side(), Some(imagepush::error::Side::Source), "{error}");
    let told = told(&error).replace(&from.host, "HOST").replace(&to.host, "TO");
    told.replacen("pushing `docker://HOST/app:1` to `docker://TO/copy:1`: ", "", 1)
}

/// A manifest in place of the right one.
fn instead(media_type: &MediaType, text: &str) -> Rule {
    let headers = vec![("content-type", media_type.to_string())];
    Rule::each("GET", "/manifests/", Act::Respond(200, headers, text.as_bytes().to_vec()))
}

fn text(manifest: &Manifest) -> String {
    String::from_utf8(manifest.bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn digests_that_are_none_lead_nowhere() {
    let image = Image::new("x");
    let index = index(&[&image]);
    let config = Digest::of(&image.config);
    let layer = image.layer_descriptor().digest;
    let hostile = [
        "sha256:../../../../etc/passwd".to_owned(),
        "sha256:%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned(),
        "../../other/manifests/1".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709".to_owned(),
        "sha256:".to_owned(),
        String::new(),
        layer.to_string().to_uppercase(),
        format!("sha256:{}", layer.hex().to_uppercase()),
        format!("sha256:{}", &layer.hex()[1..]),
        format!("{layer}/"),
        format!("{layer}\\n"),
        format!("sha512:{}", layer.hex()),
    ];
    for digest in &hostile {
        for (document, replaced) in [
            (&image.manifest, &layer),
            (&image.manifest, &config),
            (&index, image.manifest.digest()),
        ] {
            let registry = serving(&image).await;
            let lying = text(document).replace(&replaced.to_string(), digest);
            registry.add_rule(instead(document.media_type(), &lying));
            let told = refused(&registry, "app:1").await;
            let start = "InvalidImage Permanent: reading manifest `1` of `docker://HOST/app`: the \
                         manifest is malformed: ";
            assert!(told.starts_with(start), "{digest}: {told}");
            assert_eq!(registry.take_log(), ["GET /v2/app/manifests/1 200"], "{digest}");
        }
        // A header that holds none tells nothing: what is there is read.
        let registry = serving(&image).await;
        if !digest.contains('\\') {
            let header = Act::Header("docker-content-digest", digest.clone());
            registry.add_rule(Rule::each("HEAD", "/manifests/", header));
        }
        let to = destination(&format!("{}/app:1", registry.host), &plain()).await;
        let current = to.current().await.unwrap().unwrap();
        assert_eq!(current.digest, *image.manifest.digest());
    }
}

#[tokio::test]
async fn a_document_that_could_be_read_in_two_ways_is_refused() {
    let image = Image::new("x");
    let index = index(&[&image]);
    let entry = text(&index);
    let entry = &entry[entry.find('[').unwrap()..=entry.rfind(']').unwrap()];
    let with = |fields: &str| text(&image.manifest).replacen('{', &format!("{{{fields},"), 1);
    let both = "the manifest is ambiguous: it has the fields of an image and of an index";
    let case = |key: &str| {
        format!(
            "the manifest is malformed: key `{key}` differs from a field's name in upper and lower case \
             only"
        )
    };
    let oci = MediaType::OCI_MANIFEST;
    for (media_type, text, message) in [
        (&oci, with(&format!("\"manifests\":{entry}")), both.to_owned()),
        (&MediaType::OCI_INDEX, with(&format!("\"manifests\":{entry}")), both.to_owned()),
        (&oci, with(&format!("\"Manifests\":{entry}")), case("Manifests")),
        (&oci, with("\"LAYERS\":[]"), case("LAYERS")),
        (&oci, with("\"Config\":{}"), case("Config")),
        (&oci, with("\"mediatype\":\"x\""), case("mediatype")),
        (&oci, with("\"\u{17f}chemaVersion\":2"), case("\u{17f}chemaVersion")),
        (
            &oci,
            text(&image.manifest).replacen("\"size\":", "\"Size\":1,\"size\":", 1),
            case("Size"),
        ),
        (
            &MediaType::OCI_INDEX,
            text(&image.manifest),
            "the manifest is served as `application/vnd.oci.image.index.v1+json` but is a \
             `application/vnd.oci.image.manifest.v1+json`"
                .to_owned(),
        ),
        (
            &oci,
            text(&index),
            "the manifest is served as `application/vnd.oci.image.manifest.v1+json` but is a \
             `application/vnd.oci.image.index.v1+json`"
                .to_owned(),
        ),
    ] {
        let registry = serving(&image).await;
        registry.add_rule(instead(media_type, &text));
        let doing = "InvalidImage Permanent: reading manifest `1` of `docker://HOST/app`: ";
        assert_eq!(refused(&registry, "app:1").await, format!("{doing}{message}"), "{text}");
    }
    let twice = with("\"layers\":[]");
    let registry = serving(&image).await;
    registry.add_rule(instead(&oci, &twice));
    let told = refused(&registry, "app:1").await;
    assert!(told.contains("the manifest is malformed: duplicate key `layers` at line 1"), "{told}");
}

#[tokio::test]
async fn a_size_that_is_not_the_contents_is_refused() {
    let image = Image::new("x");
    let (config, layer) = (image.config.len(), image.layer.len());
    let malformed = "InvalidImage Permanent: reading manifest `1` of `docker://HOST/app`: the manifest is \
                     malformed: ";
    for (right, what) in [(config, "config"), (layer, "blob")] {
        let digest =
            if what == "config" { Digest::of(&image.config) } else { Digest::of(&image.layer) };
        let blob = |message: String| {
            format!("ContentMismatch Permanent: reading blob `{digest}`: {message}")
        };
        for (size, message) in [
            ("-1".to_owned(), format!("{malformed}invalid value: integer `-1`, expected u64")),
            ("10".to_owned(), blob("the content goes on after its 10 bytes".into())),
            ("0".to_owned(), blob("the content goes on after its 0 bytes".into())),
            (
                (right - 1).to_string(),
                blob(format!("the content goes on after its {} bytes", right - 1)),
            ),
            (
                (right + 1).to_string(),
                blob(format!("the content has {right} bytes instead of {}", right + 1)),
            ),
            (
                "9223372036854775808".to_owned(),
                format!("{malformed}size 9223372036854775808 is absurd"),
            ),
            (
                "18446744073709551616".to_owned(),
                format!(
                    "{malformed}invalid type: floating point `1.8446744073709552e+19`, expected u64"
                ),
            ),
        ] {
            let registry = serving(&image).await;
            let right = format!("\"{digest}\",\"size\":{right}");
            let lying =
                text(&image.manifest).replace(&right, &format!("\"{digest}\",\"size\":{size}"));
            assert_ne!(lying, text(&image.manifest));
            registry.add_rule(instead(&MediaType::OCI_MANIFEST, &lying));
            assert_eq!(refused(&registry, "app:1").await, message, "{what} of {size}");
        }
    }
}

#[tokio::test]
async fn content_that_is_not_what_was_asked_for_is_refused_at_once() {
    let (image, other) = (Image::new("x"), Image::new("y"));
    let layer = image.layer_descriptor();
    let mut flipped = image.layer.to_vec();
    flipped[7] ^= 1;
    let reading = format!("reading blob `{}`: ", layer.digest);
    for (act, message) in [
        (
            Act::Respond(200, vec![], flipped.clone()),
            format!(
                "ContentMismatch Permanent: {reading}the content has the digest `{}` instead of `{}`",
                Digest::of(&flipped),
                layer.digest
            ),
        ),
        (
            Act::Endless,
            format!(
                "ContentMismatch Permanent: {reading}the content goes on after its {} bytes",
                layer.size
            ),
        ),
        // It has gone since its manifest was read.
        (
            Act::Respond(404, vec![], vec![]),
            format!(
                "NotFound Permanent: reading blob `{}` of `docker://HOST/app`: the registry answered 404 \
                 Not Found",
                layer.digest
            ),
        ),
    ] {
        let registry = serving(&image).await;
        let path = format!("/blobs/{}", layer.digest);
        registry.add_rule(Rule::each("GET", path.clone(), act));
        assert_eq!(refused(&registry, "app:1").await, message);
        let asked = registry.take_log().iter().filter(|line| line.contains(&path)).count();
        assert_eq!(asked, 1, "what is wrong is not asked for again");
    }

    // An index may list thousands of manifests: none gets more memory than its entry says.
    let registry = serving(&image).await;
    let list = index(&[&image]);
    let digest = image.manifest.digest().clone();
    registry.add_rule(instead(&MediaType::OCI_INDEX, &text(&list)).nth(1));
    registry.add_rule(Rule::each("GET", format!("/manifests/{digest}"), Act::Endless));
    let message = format!("the content has more than {} bytes", image.manifest.bytes().len());
    let reading = format!("reading manifest `{digest}` of `docker://HOST/app`");
    let expected = format!("ContentMismatch Permanent: {reading}: {message}");
    assert_eq!(refused(&registry, "app:1").await, expected);

    // The name's own digest wins over what a registry says of the content.
    let registry = serving(&image).await;
    let digest = image.manifest.digest();
    let headers = vec![
        ("content-type", MediaType::OCI_MANIFEST.to_string()),
        ("docker-content-digest", digest.to_string()),
    ];
    let act = Act::Respond(200, headers, other.manifest.bytes().to_vec());
    registry.add_rule(Rule::each("GET", "/manifests/", act));
    let told = refused(&registry, &format!("app@{digest}")).await;
    let expected =
        format!("the content has the digest `{}` instead of `{digest}`", other.manifest.digest());
    assert!(told.ends_with(&expected), "{told}");
}

#[tokio::test]
async fn a_tag_that_moves_is_read_once() {
    let (first, second) = (Image::new("first"), Image::new("second"));
    let registry = serving(&first).await;
    let seed = destination(&format!("{}/app:2", registry.host), &plain()).await;
    put(&*seed, &second).await.unwrap();
    let indexes = [index(&[&first]), index(&[&second])];
    for index in &indexes {
        seed.put_manifest(index, Role::Named).await.unwrap();
    }
    let answer = |index: &Manifest| {
        let headers = vec![("content-type", index.media_type().to_string())];
        Act::Respond(200, headers, index.bytes().to_vec())
    };
    registry.add_rule(Rule::each("GET", "/manifests/1", answer(&indexes[0])).nth(1));
    registry.add_rule(Rule::each("GET", "/manifests/1", answer(&indexes[1])));
    registry.take_log();

    let to = Registry::start().await;
    let options = pushing(&format!("{}/app:1", registry.host), &to);
    let pushed = push::run(&options).await.unwrap();
    assert_eq!(pushed.digest, *indexes[0].digest());
    assert_eq!(to.tags()["copy:1"], indexes[0].digest().to_string());
    let log = registry.take_log();
    let by_tag: Vec<&String> = log.iter().filter(|line| line.contains("/manifests/1")).collect();
    assert_eq!(by_tag, ["GET /v2/app/manifests/1 200"]);
    let wrong = second.layer_descriptor().digest.to_string();
    assert!(log.iter().all(|line| !line.contains(&wrong)), "{log:?}");
}

#[tokio::test]
async fn a_manifest_has_at_most_four_mebibytes() {
    let image = Image::new("x");
    let limit = 4 << 20;
    for size in [limit - 1, limit, limit + 1] {
        let registry = serving(&image).await;
        let mut padded = text(&image.manifest);
        padded.push_str(&" ".repeat(size - padded.len()));
        registry.add_rule(instead(&MediaType::OCI_MANIFEST, &padded));
        let from = source(&format!("{}/app:1", registry.host), &plain()).await;
        match from.manifest(None).await {
            Ok(manifest) => assert_eq!((manifest.bytes().len(), size <= limit), (size, true)),
            Err(error) => {
                assert_eq!(size, limit + 1);
                let message = "LimitExceeded Permanent: reading manifest `1` of `docker://HOST/app`: the \
                               manifest has more than the limit of 4194304 bytes";
                assert_eq!(told(&error).replace(&registry.host, "HOST"), message);
            }
        }
    }
}
