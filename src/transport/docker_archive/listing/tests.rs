use super::*;

fn item(config: &str, tags: &[&str]) -> Item {
    Item {
        config: config.to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
        layers: vec![format!("{config}.tar")],
        other: BTreeMap::new(),
    }
}

fn name(text: &str) -> TaggedName {
    TaggedName::parse(text).unwrap()
}

#[test]
fn listings_of_docker_and_podman_are_read_and_written_back() {
    let text = r#"[{"Config":"a.json","RepoTags":["a:1"],"Layers":["l.tar"],"LayerSources":{"x":{"size":1}}},{"Config":"b.json","RepoTags":null,"Layers":null}]"#;
    let items = parse(text.as_bytes()).unwrap();
    assert_eq!(items[0].layers, ["l.tar"]);
    assert_eq!((&items[1].tags, &items[1].layers), (&vec![], &vec![]));
    let written = serde_json::to_string(&items).unwrap();
    assert_eq!(written, text.replace("null", "[]"));
}

#[test]
fn malformed_listings_are_refused() {
    let cases = [
        ("{}", "invalid type: map, expected a sequence at line 1 column 0"),
        (r#"[{"RepoTags":[]}]"#, "missing field `Config` at line 1 column 16"),
        (r#"[{"Config":"a","Config":"b"}]"#, "duplicate field `Config` at line 1 column 23"),
        (
            r#"[{"Config":"a","layers":[]}]"#,
            "key `layers` differs from a field's name in upper and lower case only",
        ),
        (
            r#"[{"Config":"a","RepoTags":["UP"]}]"#,
            "image 0 has a bad tag: `UP` is not a name of an image",
        ),
    ];
    for (text, cause) in cases {
        let error = parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("`manifest.json` is malformed: {cause}"));
    }
}

#[test]
fn the_image_that_is_meant_is_chosen() {
    let items = [item("a", &["a:1", "docker.io/library/both:2"]), item("b", &[])];
    let chosen = |selector: &Selector| choose(&items, Some(selector)).unwrap();
    assert_eq!(chosen(&Selector::Name(name("docker.io/library/a:1"))), 0);
    assert_eq!(chosen(&Selector::Name(name("both:2"))), 0);
    assert_eq!(chosen(&Selector::Index(1)), 1);
    assert_eq!(choose(&items[1..], None).unwrap(), 0);
}

#[test]
fn a_choice_that_cannot_be_made_says_what_there_is() {
    let items = [item("a", &["a:1"]), item("b", &["b:1"])];
    let listed = "it holds a:1, b:1; `@0` to `@1` name images by place";
    let wanted = Selector::Name(name("c"));
    let cases = [
        (&items[..], None, "the archive holds 2 images, and none was chosen", Some(listed)),
        (&[], None, "the archive holds no image", None),
        (
            &items,
            Some(&wanted),
            "no image of the archive has the name `docker.io/library/c:latest`",
            Some(listed),
        ),
        (
            &items,
            Some(&Selector::Index(2)),
            "there is no image `@2`: the archive holds 2",
            Some("images are counted from 0"),
        ),
    ];
    for (items, selector, message, hint) in cases {
        let error = choose(items, selector).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.next_step()), (message, hint));
    }
}

fn merged(items: &[Item], new: Item, tag: Option<&str>) -> Vec<Item> {
    let config = new.config.clone();
    let tag = tag.map(name);
    merge(items.to_vec(), new, tag.as_ref(), |_, item| item.config == config)
}

#[test]
fn an_image_is_added_beside_the_others() {
    let old = item("a", &["a:1"]);
    let new = item("b", &["docker.io/library/b:1"]);
    let expected = vec![old.clone(), new.clone()];
    assert_eq!(merged(std::slice::from_ref(&old), new.clone(), Some("b:1")), expected);
    let unnamed = item("b", &[]);
    let expected = vec![old.clone(), unnamed.clone()];
    assert_eq!(merged(&[old], unnamed, None), expected);
    assert_eq!(merged(&[], new.clone(), Some("b:1")), [new]);
}

#[test]
fn a_name_moves_to_the_new_image() {
    let new = item("new", &["docker.io/library/a:1"]);
    let beside = item("beside", &["b:1"]);
    let only = merged(&[item("old", &["a:1"]), beside.clone()], new.clone(), Some("a:1"));
    assert_eq!(only, [new.clone(), beside]);
    let one_of_two = merged(&[item("old", &["a:1", "a:2"])], new.clone(), Some("a:1"));
    assert_eq!(one_of_two, [item("old", &["a:2"]), new]);
}

#[test]
fn an_image_is_not_listed_twice() {
    let old = item("a", &["a:1"]);
    let again =
        merged(std::slice::from_ref(&old), item("a", &["docker.io/library/a:1"]), Some("a:1"));
    assert_eq!(again, [item("a", &["docker.io/library/a:1"])]);
    let renamed =
        merged(std::slice::from_ref(&old), item("a", &["docker.io/library/a:2"]), Some("a:2"));
    assert_eq!(renamed, [item("a", &["docker.io/library/a:2", "a:1"])]);
    assert_eq!(merged(&[old], item("a", &[]), None), [item("a", &["a:1"])]);
    assert_eq!(merged(&[item("a", &[])], item("a", &[]), None), [item("a", &[])]);
}
