use serde_json::json;

use super::*;
use crate::image::Digest;

fn image(content: &str) -> Descriptor {
    Descriptor::of(MediaType::OCI_MANIFEST, content.as_bytes())
}

fn index(images: &[(&str, Option<&str>)]) -> LayoutIndex {
    let mut index = LayoutIndex::new();
    for (content, name) in images {
        index.put(image(content), *name).unwrap();
    }
    index
}

/// The entries as pairs of content and name.
fn listing(index: &LayoutIndex) -> Vec<(String, Option<String>)> {
    let content = |digest: &Value| {
        let known = ["a", "b", "c"].into_iter();
        known
            .map(|c| (c, Digest::of(c.as_bytes())))
            .find(|(_, d)| d.to_string() == *digest)
            .unwrap()
            .0
    };
    let pair = |entry: &Value| {
        (content(&entry["digest"]).to_owned(), name_of(entry).map(ToOwned::to_owned))
    };
    index.entries().iter().map(pair).collect()
}

#[test]
fn references_are_cut_at_the_first_colon() {
    let named = |name: &str| Selection::Named(name.into());
    let cases = [
        ("a", "a", Selection::Only),
        ("/a/b/", "/a/b/", Selection::Only),
        ("a:", "a", Selection::Only),
        ("a:x", "a", named("x")),
        ("a:repo/name:1.0", "a", named("repo/name:1.0")),
        ("../a:r.e--p_o+x@y/1", "../a", named("r.e--p_o+x@y/1")),
        ("a:@0", "a", Selection::At(0)),
        ("a:@12", "a", Selection::At(12)),
    ];
    for (details, path, selection) in cases {
        assert_eq!(parse_details(details).unwrap(), (PathBuf::from(path), selection), "{details}");
    }
    let not_a_name =
        |name: &str| format!("`{name}` is not a name that an image of a layout can have");
    let not_a_place =
        |place: &str| format!("`{place}` is not a place in `index.json`, such as `@0`");
    for (details, message) in [
        ("", "the path is empty".to_owned()),
        (":x", "the path is empty".to_owned()),
        ("a\0:x", "the path holds a NUL character".to_owned()),
        ("a:..", not_a_name("..")),
        ("a:x/../y", not_a_name("x/../y")),
        ("a:x//y", not_a_name("x//y")),
        ("a:x---y", not_a_name("x---y")),
        ("a:-x", not_a_name("-x")),
        ("a:x y", not_a_name("x y")),
        ("a:é", not_a_name("é")),
        ("a:@", not_a_place("@")),
        ("a:@-1", not_a_place("@-1")),
        ("a:@+1", not_a_place("@+1")),
        ("a:@99999999999999999999", not_a_place("@99999999999999999999")),
    ] {
        let error = parse_details(details).unwrap_err();
        assert_eq!((error.to_string(), error.exit_code()), (message, 2), "{details}");
    }
}

#[test]
fn a_push_moves_names_and_forgets_no_image() {
    type Images<'a> = &'a [(&'a str, Option<&'a str>)];
    let cases: [(&str, Images<'_>, Images<'_>); 8] = [
        ("first", &[("a", Some("x"))], &[("a", Some("x"))]),
        ("again", &[("a", Some("x")), ("a", Some("x"))], &[("a", Some("x"))]),
        ("two names", &[("a", Some("x")), ("a", Some("y"))], &[("a", Some("x")), ("a", Some("y"))]),
        ("stolen", &[("a", Some("x")), ("b", Some("x"))], &[("a", None), ("b", Some("x"))]),
        ("named later", &[("a", None), ("a", Some("x"))], &[("a", Some("x"))]),
        ("unnamed twice", &[("a", None), ("a", None)], &[("a", None)]),
        ("unnamed others", &[("a", None), ("b", None)], &[("a", None), ("b", None)]),
        (
            "back again",
            &[("a", Some("x")), ("b", Some("x")), ("a", Some("x"))],
            &[("a", Some("x")), ("b", None)],
        ),
    ];
    for (case, pushes, expected) in cases {
        let expected: Vec<_> =
            expected.iter().map(|(c, n)| ((*c).to_owned(), n.map(ToOwned::to_owned))).collect();
        assert_eq!(listing(&index(pushes)), expected, "{case}");
    }
}

#[test]
fn a_name_leads_to_what_was_put_though_another_entry_had_it_too() {
    // As other tools write it: one name, an entry for each platform.
    let mut index = index(&[("a", None), ("b", None)]);
    for entry in index.manifests.as_mut().unwrap() {
        entry["annotations"] = json!({NAME_ANNOTATION: "v1"});
    }
    index.put(image("a"), Some("v1")).unwrap();
    let named = |content: &str| (content.to_owned(), Some("v1".to_owned()));
    assert_eq!(listing(&index), [named("a"), named("b")]);
    index.put(image("b"), Some("v1")).unwrap();
    assert_eq!(listing(&index), [("a".to_owned(), None), named("b")]);
    let found = index.choose(&Selection::Named("v1".into()), "x").unwrap();
    assert_eq!(found.digest, image("b").digest);
}

#[test]
fn what_others_wrote_is_kept() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    let text = json!({
        "schemaVersion": 2,
        "manifests": [
            {"mediaType": "x/y", "digest": "blake3:00", "size": -1, "annotations": {"k": "v"}},
            {"mediaType": "m", "digest": a, "size": 1, "platform": {"os": "o", "new": 1},
             "annotations": {"k": "v", "org.opencontainers.image.ref.name": "x"}},
        ],
        "annotations": {"of": "the index"},
        "unknown": [1, {"two": 2}],
    });
    let mut index = LayoutIndex::parse(text.to_string().as_bytes()).unwrap();
    let unchanged: Value = serde_json::from_slice(&index.to_bytes().unwrap()).unwrap();
    assert_eq!(unchanged, text, "no media type is added");

    index.put(image("b"), Some("x")).unwrap();
    let mut expected = text;
    expected["manifests"][1]["annotations"] = json!({"k": "v"});
    expected["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": MediaType::OCI_MANIFEST, "digest": b, "size": 1,
        "annotations": {"org.opencontainers.image.ref.name": "x"},
    }));
    let changed: Value = serde_json::from_slice(&index.to_bytes().unwrap()).unwrap();
    assert_eq!(changed, expected);
}

#[test]
fn a_new_index_has_the_order_of_the_specification() {
    let text = String::from_utf8(index(&[("a", None)]).to_bytes().unwrap().to_vec()).unwrap();
    let start = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"#;
    assert!(text.starts_with(start), "{text}");
    assert!(!text.contains("annotations"), "{text}");
}

#[test]
fn one_image_is_chosen_or_the_error_lists_them() {
    let two = index(&[("a", Some("x")), ("b", None)]);
    let named = |name: &str| Selection::Named(name.into());
    assert_eq!(two.choose(&named("x"), "l").unwrap().digest, image("a").digest);
    assert_eq!(two.choose(&Selection::At(1), "l").unwrap(), image("b"));
    assert_eq!(index(&[("c", Some("x"))]).choose(&Selection::Only, "l").unwrap().size, 1);

    let there = "there are: `x`, 1 without a name (chosen by place, as in `@0`)";
    let cases = [
        (&two, Selection::Only, "`l` holds 2 images and the reference names none", there, 2),
        (&two, named("y"), "no image in `l` is named `y`", there, 1),
        (&two, Selection::At(2), "`l` holds 2 images, counted from 0, and none at 2", there, 1),
        (&LayoutIndex::new(), Selection::Only, "`l` holds no image", "the layout is empty", 1),
    ];
    for (index, selection, message, hint, code) in cases {
        let error = index.choose(&selection, "l").unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.next_step(), error.exit_code()),
            (message, Some(hint), code)
        );
    }
}

#[test]
fn what_a_name_has_now() {
    let both = index(&[("a", Some("x")), ("b", None)]);
    assert_eq!(both.current(Some("x")).unwrap().digest, image("a").digest);
    assert_eq!(both.current(Some("y")), None);
    assert_eq!(both.current(None), None, "a reader without a name would not find it");
    assert_eq!(index(&[("a", Some("x"))]).current(None), None);
    assert_eq!(index(&[("b", None)]).current(None), Some(image("b")));
}

#[test]
fn malformed_documents_are_errors_that_say_where() {
    let malformed = "an entry of `index.json` is malformed: invalid type: null, expected a string";
    let null = LayoutIndex::parse(br#"{"manifests":[{"mediaType":"m","digest":null,"size":1}]}"#);
    let error = null.unwrap().choose(&Selection::Only, "l").unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), (malformed, Kind::InvalidImage));

    let cases: [(&[u8], &str); 3] = [
        (b"{", "`index.json` is malformed: EOF while parsing an object at line 1 column 1"),
        (
            br#"{"manifests":[],"manifests":[]}"#,
            "`index.json` is malformed: duplicate field `manifests` at line 1 column 27",
        ),
        (
            br#"{"manifests":{}}"#,
            "`index.json` is malformed: invalid type: map, expected a sequence at line 1 column 13",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(LayoutIndex::parse(text).unwrap_err().to_string(), message);
    }
    assert_eq!(LayoutIndex::parse(br#"{"manifests":null}"#).unwrap().entries(), [] as [Value; 0]);
}

#[test]
fn versions_of_the_layout() {
    check_version(LAYOUT_CONTENT).unwrap();
    check_version(br#"{"imageLayoutVersion": "1.1.0", "more": 1}"#).unwrap();
    let cases: [(&[u8], &str); 2] = [
        (
            br#"{"imageLayoutVersion":"2.0.0"}"#,
            "version `2.0.0` of the OCI layout is not supported",
        ),
        (b"{}", "`oci-layout` is malformed: missing field `imageLayoutVersion` at line 1 column 2"),
    ];
    for (content, message) in cases {
        assert_eq!(check_version(content).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_manifest_must_be_what_its_descriptor_says() {
    let text = br#"{"schemaVersion":2,"manifests":[]}"#;
    let good = Descriptor::of(MediaType::OCI_INDEX, text);
    let manifest = manifest_of(Bytes::from_static(text), &good).unwrap();
    assert_eq!(manifest.descriptor(), good);

    let other = Descriptor::of(MediaType::OCI_INDEX, b"other");
    let error = manifest_of(Bytes::from_static(b"0ther"), &other).unwrap_err();
    let expected = format!("manifest `{}` has the digest `{}`", other.digest, Digest::of(b"0ther"));
    assert_eq!((error.to_string(), error.kind()), (expected, Kind::ContentMismatch));
    let error = manifest_of(Bytes::from_static(b"oth"), &other).unwrap_err();
    let expected = format!("manifest `{}` has 3 bytes instead of 5", other.digest);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_more_of_a_manifest_is_read_than_its_descriptor_says() {
    let of_size = |size| Descriptor { size, ..Descriptor::of(MediaType::OCI_INDEX, b"x") };
    let digest = Digest::of(b"x");
    for (says, found, expected) in [
        (7, Some(7), Ok(7)),
        (7, None, Ok(7)),
        (7, Some(8), Err(format!("manifest `{digest}` has 8 bytes instead of 7"))),
        (
            u64::MAX,
            Some(7),
            Err(format!("manifest `{digest}` has 7 bytes instead of {}", u64::MAX)),
        ),
        (u64::MAX, Some(u64::MAX), Ok(MAX_MANIFEST_SIZE)),
    ] {
        let readable = readable(&of_size(says), found).map_err(|error| {
            assert_eq!(error.kind(), Kind::ContentMismatch);
            error.to_string()
        });
        assert_eq!(readable, expected);
    }
}

/// An artifact that belongs to an image.
fn attachment(to: &Descriptor) -> Manifest {
    let artifact = crate::image::Artifact {
        artifact_type: MediaType::new("application/x.test"),
        subject: to.clone(),
        layers: vec![],
        annotations: crate::image::Annotations::new(),
    };
    artifact.into_manifest()
}

#[test]
fn an_image_with_attachments_has_a_name_and_is_found_without() {
    let mut changes = Changes::default();
    changes.add(&attachment(&image("a"))).unwrap();
    let none = |_: &Descriptor| Err(Error::internal("there is no list yet"));
    for before in [&[][..], &[("a", None)]] {
        let mut index = index(before);
        let mut lists = vec![];
        let put = |list: &Manifest| {
            lists.push(list.clone());
            Ok(())
        };
        index.merge(Some(&image("a")), None, &changes, none, put).unwrap();
        let list = index.list(&image("a").digest).unwrap();
        assert_eq!((lists.len(), lists[0].digest()), (1, &list.digest));
        assert_eq!(index.lists(), [list]);
        // Its entry alone is one of an image, whatever it is asked for by.
        assert_eq!(index.images().len(), 1);
        let named = Selection::Named("latest".into());
        for found in [index.current(None), index.current(Some("latest"))] {
            assert_eq!(found.unwrap().digest, image("a").digest);
        }
        for selection in [Selection::Only, named, Selection::At(0)] {
            assert_eq!(index.choose(&selection, "x").unwrap().digest, image("a").digest);
        }
        // The next one without a name takes its place, also where the old one stays.
        index.merge(Some(&image("b")), None, &Changes::default(), none, |_| Ok(())).unwrap();
        assert_eq!(index.current(None).unwrap().digest, image("b").digest);
        assert_eq!(index.choose(&Selection::Only, "x").unwrap().digest, image("b").digest);

        // And once nothing is attached any more, no list is left.
        let mut gone = Changes::default();
        gone.remove(&image("a").digest, attachment(&image("a")).digest());
        index.merge(None, None, &gone, |_| Ok(lists[0].clone()), |_| Ok(())).unwrap();
        assert_eq!(index.lists(), []);
    }
}

#[test]
fn lists_go_with_their_images() {
    let mut index = index(&[("a", Some("x"))]);
    for content in ["a", "b"] {
        let mut changes = Changes::default();
        changes.add(&attachment(&image(content))).unwrap();
        let none = |_: &Descriptor| Err(Error::internal("there is no list yet"));
        index.merge(None, Some("x"), &changes, none, |_| Ok(())).unwrap();
    }
    index.keep_lists_of([image("a").digest].iter());
    assert!(index.list(&image("a").digest).is_some() && index.list(&image("b").digest).is_none());
    assert_eq!((index.lists().len(), index.images().len()), (1, 1));
}
