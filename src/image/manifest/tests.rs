use serde_json::json;

use super::*;

fn parse(text: &str, declared: impl Into<Option<MediaType>>) -> Result<Manifest, ManifestError> {
    Manifest::parse(Bytes::copy_from_slice(text.as_bytes()), declared.into().as_ref())
}

fn image(config_type: &str, extra: &str) -> String {
    let digest = Digest::of(b"");
    format!(
        r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"{config_type}","digest":"{digest}","size":2}},"layers":[]}}"#
    )
}

#[test]
fn the_bytes_decide_what_a_document_is() {
    let oci = MediaType::OCI_CONFIG.to_string();
    let docker = MediaType::DOCKER_CONFIG.to_string();
    let own = |media_type: MediaType| format!(r#""mediaType":"{media_type}","#);
    let index = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
    let cases = [
        (image(&oci, ""), None, MediaType::OCI_MANIFEST),
        (image(&docker, ""), None, MediaType::DOCKER_MANIFEST),
        (image(&docker, ""), Some(MediaType::OCI_MANIFEST), MediaType::OCI_MANIFEST),
        (image("application/x-helm", ""), None, MediaType::OCI_MANIFEST),
        (image(&oci, &own(MediaType::DOCKER_MANIFEST)), None, MediaType::DOCKER_MANIFEST),
        (index.clone(), None, MediaType::OCI_INDEX),
        (index.clone(), Some(MediaType::DOCKER_LIST), MediaType::DOCKER_LIST),
        (index, Some(MediaType::new("text/plain")), MediaType::OCI_INDEX),
    ];
    for (text, declared, expected) in cases {
        assert_eq!(*parse(&text, declared).unwrap().media_type(), expected, "{text}");
    }
}

#[test]
fn documents_that_readers_could_disagree_on_are_refused() {
    let oci = MediaType::OCI_CONFIG.to_string();
    let both = r#""manifests":[],"#;
    let many = format!(
        r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"a":"{}"}}}}"#,
        "x".repeat(MAX_ANNOTATIONS_SIZE)
    );
    let cases = [
        (
            image(&oci, both),
            None,
            "the manifest is ambiguous: it has the fields of an image and of an index",
        ),
        (
            image(&oci, r#""MANIFESTS":[],"#),
            None,
            "the manifest is malformed: key `MANIFESTS` differs from a field's name in upper and lower case only",
        ),
        (
            image(&oci, r#""layers":[],"#),
            None,
            "the manifest is malformed: duplicate key `layers` at line 1 column 201",
        ),
        (
            image(&oci, ""),
            Some(MediaType::OCI_INDEX),
            "the manifest is served as `application/vnd.oci.image.index.v1+json` but is a `application/vnd.oci.image.manifest.v1+json`",
        ),
        (
            image(&oci, &format!(r#""mediaType":"{}","#, MediaType::OCI_INDEX)),
            None,
            "the manifest is ambiguous: it has the fields of an image and of an index",
        ),
        (
            image(&oci, r#""mediaType":"text/html","#),
            None,
            "`text/html` is not a media type of an image manifest or index",
        ),
        (
            r#"{"schemaVersion":1,"name":"a"}"#.into(),
            None,
            "the manifest has Docker's version 2, schema 1, which is not supported",
        ),
        ("{}".into(), None, "the manifest is malformed: missing field `schemaVersion`"),
        (many, None, "the manifest has 262145 bytes of annotations, more than the limit of 262144"),
    ];
    for (text, declared, message) in cases {
        assert_eq!(parse(&text, declared).unwrap_err().to_string(), message);
    }
}

#[test]
fn limits_hold_at_their_edge() {
    let padded = |size: usize| {
        let text = image(MediaType::OCI_CONFIG.as_str(), "");
        format!("{text}{}", " ".repeat(size - text.len()))
    };
    let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap();
    assert!(parse(&padded(limit), None).is_ok());
    assert_eq!(
        parse(&padded(limit + 1), None).unwrap_err().to_string(),
        "the manifest has 4194305 bytes, more than the limit of 4194304"
    );
    // Of an image and of an index, over all that they name.
    let urls = |count: usize| vec!["https://x.example"; count];
    for field in ["layers", "manifests"] {
        let blob = |count: usize| json!({"mediaType": MediaType::OCI_MANIFEST, "digest": Digest::of(b""), "size": 0, "urls": urls(count)});
        let with = |count: usize| {
            let mut document = json!({"schemaVersion": 2, field: [blob(count), blob(1)]});
            if field == "layers" {
                document["config"] = blob(0);
            }
            parse(&document.to_string(), None).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(with(MAX_URLS - 1), Ok(()));
        let error = "the manifest has 4001 `urls`, more than the limit of 4000";
        assert_eq!(with(MAX_URLS), Err(error.to_owned()));
    }
}

#[test]
fn edited_manifests_have_the_same_bytes_each_time() {
    let text = image(MediaType::OCI_CONFIG.as_str(), r#""zeta":{"b":1,"a":2},"annotations":null,"#);
    let read = parse(&text, None).unwrap();
    let written = Manifest::from_image(read.as_image().unwrap().clone(), MediaType::OCI_MANIFEST);
    let digest = Digest::of(b"");
    let expected = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{digest}","size":2}},"layers":[],"zeta":{{"a":2,"b":1}}}}"#,
        MediaType::OCI_MANIFEST,
        MediaType::OCI_CONFIG,
    );
    assert_eq!(std::str::from_utf8(written.bytes()).unwrap(), expected);
    assert_eq!(*written.digest(), Digest::of(expected.as_bytes()));
    assert_eq!(*read.digest(), Digest::of(text.as_bytes()));
}

#[test]
fn sha512_digests_are_computed_where_the_reference_asks_for_one() {
    let text = Bytes::from(image(MediaType::OCI_CONFIG.as_str(), ""));
    let manifest = Manifest::parse_with(text, None, Algorithm::Sha512).unwrap();
    assert_eq!(manifest.digest().algorithm(), Algorithm::Sha512);
}
