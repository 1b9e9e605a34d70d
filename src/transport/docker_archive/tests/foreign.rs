//! Archives that others made, well meant or not.

use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::{Image, Scratch, read, stream};
use crate::blob::{Codec, CodecMemory, compress};
use crate::error::Kind;
use crate::image::{Compression, Digest};
use crate::transport::local::{ArchiveTarget, UserPath};

/// Writes an archive with these members, whatever sense they make.
async fn archive(path: &Path, members: &[(&str, &[u8])]) {
    let target = ArchiveTarget::new(UserPath::anywhere(path), 0o444);
    let writer = target.writer().await.unwrap();
    for (name, content) in members {
        match content.strip_prefix(b"-> ") {
            Some(link) => writer.symlink(name, std::str::from_utf8(link).unwrap()).await.unwrap(),
            None => writer.bytes(name, Bytes::copy_from_slice(content)).await.unwrap(),
        }
    }
    let held = target.hold().await.unwrap();
    target.finish(held).await.unwrap().publish().await.unwrap();
}

async fn gzip(bytes: &Bytes) -> Vec<u8> {
    let codec = Codec::new(Compression::Gzip, None).unwrap();
    let chunks: Vec<Bytes> =
        compress(stream(bytes), codec, &CodecMemory::default()).try_collect().await.unwrap();
    chunks.concat()
}

#[tokio::test]
async fn archives_of_other_layouts_are_read() {
    let scratch = Scratch::new();
    let image = Image::of(&["one", "two"]);
    let config = format!("{}.json", Digest::of(&image.config).hex());
    let listing = |config: &str, one: &str, two: &str| {
        format!(r#"[{{"Config":"{config}","RepoTags":null,"Layers":["{one}","./{two}"]}}]"#)
    };
    // Docker before 25: a folder for each layer, links between them.
    let legacy = listing(&config, "1/layer.tar", "2/layer.tar");
    let members: [(&str, &[u8]); 5] = [
        ("1/layer.tar", b"-> ../3/layer.tar"),
        ("2/layer.tar", b"two"),
        ("3/layer.tar", b"one"),
        (&config, &image.config),
        ("manifest.json", legacy.as_bytes()),
    ];
    archive(&scratch.path(), &members).await;
    scratch.assert_holds("", &image).await;
    std::fs::remove_file(scratch.path()).unwrap();

    // Docker from 25 on: an OCI layout with a listing, and layers compressed by whoever pushed them.
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let (one, two) = (gzip(&image.layers[0]).await, &image.layers[1]);
    let listing = listing(&blob(&image.config), &blob(&one), &blob(two));
    let members: [(&str, &[u8]); 4] = [
        (&blob(&image.config), &image.config),
        (&blob(&one), &one),
        (&blob(two), two),
        ("manifest.json", listing.as_bytes()),
    ];
    archive(&scratch.path(), &members).await;
    scratch.assert_holds("", &image).await;

    // An image that is added does not change what is there.
    let new = Image::of(&["one", "new"]);
    scratch.push(":new:1", &new).await;
    scratch.assert_holds(":new:1", &new).await;
    scratch.assert_holds(":@0", &image).await;
}

/// Members of an archive, and what is wrong with it.
type Hostile = (Vec<(String, Vec<u8>)>, String);

fn hostile() -> Vec<Hostile> {
    let image = Image::of(&["one", "two"]);
    let config = format!("{}.json", Digest::of(&image.config).hex());
    let [one, two] = [0, 1].map(|index: usize| Digest::of(&image.layers[index]));
    let whole = |layers: &str| format!(r#"[{{"Config":"{config}","Layers":[{layers}]}}]"#);
    let listing = |layers: &str| ("manifest.json".to_owned(), whole(layers).into_bytes());
    let good = listing(r#""1.tar","2.tar""#);
    let config = (config.clone(), image.config.to_vec());
    let member = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
    let (layer1, layer2) = (member("1.tar", "one"), member("2.tar", "two"));
    let too_large = (good.0.clone(), vec![b' '; (1 << 20) + 1]);
    let wrong_config = (config.0.clone(), b"{}".to_vec());
    vec![
        (
            vec![layer1.clone()],
            "it has no `manifest.json`, so it is not a Docker archive".to_owned(),
        ),
        (
            vec![too_large],
            "member `manifest.json` has 1048577 bytes, more than the limit of 1048576".to_owned(),
        ),
        (vec![good.clone()], format!("config `{}` is missing", config.0)),
        (
            vec![good.clone(), wrong_config],
            format!("config `{}` has the digest `{}`", config.0, Digest::of(b"{}")),
        ),
        (vec![good.clone(), config.clone(), layer1.clone()], "layer `2.tar` is missing".to_owned()),
        (
            vec![listing(r#""1.tar""#), config.clone(), layer1.clone()],
            format!("the image has 1 layers in `manifest.json` and 2 in config `{}`", config.0),
        ),
        (
            vec![listing(r#""1.tar","1.tar""#), config.clone(), layer1.clone()],
            format!("layer `1.tar` is used for two diff IDs, `{one}` and `{two}`"),
        ),
        (
            vec![
                listing(r#""1.tar","l""#),
                config.clone(),
                layer1.clone(),
                member("l", "-> 1.tar"),
            ],
            format!("layer `l` is used for two diff IDs, `{one}` and `{two}`"),
        ),
        (
            vec![
                good.clone(),
                config.clone(),
                layer1.clone(),
                member("2.tar", "-> l"),
                member("l", "-> 1.tar"),
            ],
            "member `2.tar` is a link to another link".to_owned(),
        ),
        (
            vec![listing(r#""1.tar","../2.tar""#), config.clone(), layer1.clone()],
            "member `../2.tar` has a name with `..`".to_owned(),
        ),
        (
            vec![member("l", "-> ../etc/passwd"), good, config, layer1, layer2],
            "member `l` is a link that leaves the archive".to_owned(),
        ),
    ]
}

#[tokio::test]
async fn hostile_archives_are_refused() {
    for (members, cause) in hostile() {
        let scratch = Scratch::new();
        let members: Vec<_> =
            members.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        archive(&scratch.path(), &members).await;
        let before = std::fs::read(scratch.path()).unwrap();
        let path = scratch.path().display().to_string();
        let error = scratch.source("").await.err().unwrap();
        let expected =
            format!("opening `docker-archive:{path}`: reading archive `{path}`: {cause}");
        assert_eq!(error.to_string(), expected);
        let error = scratch.destination(":a:1").await.err().unwrap();
        let expected = format!(
            "opening `docker-archive:{path}:docker.io/library/a:1`: `{path}` is there and is not a Docker archive: reading archive `{path}`: {cause}"
        );
        assert_eq!((error.to_string(), error.kind()), (expected, Kind::DestinationExists));
        assert!(std::fs::read(scratch.path()).unwrap() == before);
        scratch.assert_alone();
    }
}

#[tokio::test]
async fn a_layer_with_other_bytes_is_not_passed_on() {
    let scratch = Scratch::new();
    let image = Image::of(&["one"]);
    let config = format!("{}.json", Digest::of(&image.config).hex());
    let listing = format!(r#"[{{"Config":"{config}","Layers":["1.tar"]}}]"#);
    let members: [(&str, &[u8]); 3] =
        [("1.tar", b"two"), (&config, &image.config), ("manifest.json", listing.as_bytes())];
    archive(&scratch.path(), &members).await;
    let source = scratch.source("").await.unwrap();
    let error = read(source.as_ref(), image.descriptor(0)).await.unwrap_err();
    let expected = format!(
        "the content has the digest `{}` instead of `{}`",
        Digest::of(b"two"),
        Digest::of(b"one")
    );
    assert_eq!((error.kind(), error.to_string()), (Kind::ContentMismatch, expected));
}
