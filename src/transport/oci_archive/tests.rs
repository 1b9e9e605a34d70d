use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use super::*;
use crate::blob::{Blob, Chunks};
use crate::image::{Annotations, Descriptor, Digest, ImageManifest, Index, Manifest, MediaType};
use crate::transport::local::ArchiveTarget;
use crate::transport::local::UserPath;
use crate::transport::{BlobKind, Reused, Role};

/// An image with one layer, or several under an index.
#[derive(Default)]
struct Image {
    blobs: Vec<(Descriptor, Bytes)>,
    instances: Vec<Manifest>,
    named: Option<Manifest>,
}

impl Image {
    fn of(layer: &str) -> Self {
        let mut image = Self::default();
        image.named = Some(image.instance(layer));
        image
    }

    fn index(layers: &[&str]) -> Self {
        let mut image = Self::default();
        for layer in layers {
            let instance = image.instance(layer);
            image.instances.push(instance);
        }
        let entries = image.instances.iter().map(Manifest::descriptor).collect();
        image.named = Some(Manifest::from_index(Index::new(entries), MediaType::OCI_INDEX));
        image
    }

    fn instance(&mut self, layer: &str) -> Manifest {
        let mut blob = |media_type, content: String| {
            let descriptor = Descriptor::of(media_type, content.as_bytes());
            self.blobs.push((descriptor.clone(), content.into()));
            descriptor
        };
        let layers = vec![blob(
            MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip"),
            layer.to_owned(),
        )];
        let config = blob(MediaType::OCI_CONFIG, format!("config of {layer}"));
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::new(),
            other: BTreeMap::new(),
        };
        Manifest::from_image(image, MediaType::OCI_MANIFEST)
    }

    fn named(&self) -> &Manifest {
        self.named.as_ref().unwrap()
    }
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("a.tar")
    }

    fn reference(&self, rest: &str) -> Reference {
        OciArchive.parse(&format!("{}{rest}", self.path().display())).unwrap()
    }

    async fn destination(&self, rest: &str) -> Result<Box<dyn ImageDestination>> {
        self.reference(rest).destination(&Access::default()).await
    }

    async fn source(&self, rest: &str) -> Result<Box<dyn ImageSource>> {
        self.reference(rest).source(&Access::default()).await
    }

    async fn push(&self, rest: &str, image: &Image) {
        let destination = self.destination(rest).await.unwrap();
        put(destination.as_ref(), image).await;
        destination.commit().await.unwrap();
    }

    async fn assert_holds(&self, rest: &str, image: &Image) {
        let source = self.source(rest).await.unwrap();
        assert_eq!(source.manifest(None).await.unwrap(), *image.named());
        for instance in &image.instances {
            let descriptor = instance.descriptor();
            assert_eq!(source.manifest(Some(&descriptor)).await.unwrap(), *instance);
        }
        for (descriptor, content) in &image.blobs {
            let blob = Blob::verified(source.blob(descriptor).await.unwrap(), descriptor);
            let chunks: Vec<Bytes> = blob.into_parts().0.try_collect().await.unwrap();
            assert_eq!(chunks.concat(), &content[..]);
        }
    }

    fn members(&self) -> Vec<String> {
        let output = Command::new("tar").arg("-tf").arg(self.path()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn assert_alone(&self) {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a.tar"]);
    }
}

fn stream(bytes: &Bytes) -> Chunks {
    futures::stream::iter([Ok(bytes.clone())]).boxed()
}

/// Writes an image; every other blob as one whose size nobody knows before its end.
async fn put(destination: &dyn ImageDestination, image: &Image) {
    for (index, (descriptor, content)) in image.blobs.iter().enumerate() {
        let blob = match index % 2 {
            0 => Blob::measured(stream(content)),
            _ => Blob::verified(stream(content), descriptor),
        };
        destination.put_blob(blob, BlobKind::Layer).await.unwrap();
    }
    for instance in &image.instances {
        destination.put_manifest(instance, Role::Instance).await.unwrap();
    }
    destination.put_manifest(image.named(), Role::Named).await.unwrap();
}

#[test]
fn what_is_printed_parses_to_the_same() {
    for details in ["a.tar", "/d/a.tar:name", "a.tar:r.io:5000/a:1"] {
        let printed = format!("oci-archive:{details}");
        assert_eq!(OciArchive.parse(details).unwrap().to_string(), printed);
    }
    let error = OciArchive.parse("a.tar:@1").unwrap_err();
    let expected = "`@1` is not a name, and an archive's images are known by name";
    assert_eq!((error.to_string().as_str(), error.exit_code()), (expected, 2));
}

#[tokio::test]
async fn an_image_comes_back_as_it_was_pushed() {
    for image in [Image::of("one"), Image::index(&["one", "two"])] {
        let scratch = Scratch::new();
        scratch.push(":a", &image).await;
        scratch.assert_alone();
        scratch.assert_holds(":a", &image).await;
        scratch.assert_holds("", &image).await;
        let members = scratch.members();
        assert_eq!(members[..2], ["blobs/", "blobs/sha256/"]);
        assert_eq!(members[members.len() - 2..], ["oci-layout", "index.json"]);
        let count = image.blobs.len() + image.instances.len() + 1;
        assert_eq!(members.len(), 4 + count);
        let current = scratch.destination(":a").await.unwrap().current().await.unwrap().unwrap();
        assert_eq!(current.digest, *image.named().digest());
    }
}

#[tokio::test]
async fn other_named_images_stay_and_unnamed_ones_are_replaced() {
    let scratch = Scratch::new();
    let (one, two) = (Image::of("one"), Image::index(&["base", "two"]));
    scratch.push("", &one).await;
    scratch.push("", &Image::of("other")).await;
    scratch.assert_holds("", &Image::of("other")).await;

    scratch.push(":one", &one).await;
    scratch.push(":two", &two).await;
    scratch.push(":one", &Image::of("base")).await;
    scratch.assert_holds(":one", &Image::of("base")).await;
    scratch.assert_holds(":two", &two).await;
    let members = scratch.members();
    let stays = |layer: &str| {
        let name = format!("blobs/sha256/{}", Digest::of(layer.as_bytes()).hex());
        members.iter().filter(|member| **member == name).count()
    };
    assert_eq!([stays("one"), stays("other"), stays("base"), stays("two")], [0, 0, 1, 1]);
    let error = scratch.source("").await.err().unwrap();
    let path = scratch.path().display().to_string();
    let expected = format!(
        "opening `oci-archive:{path}`: `{path}` holds 2 images and the reference names none"
    );
    assert_eq!(error.to_string(), expected);
    scratch.assert_alone();
}

#[tokio::test]
async fn blobs_that_are_there_are_taken_over_unless_they_are_damaged() {
    let scratch = Scratch::new();
    let image = Image::of("layer that is there");
    scratch.push(":a", &image).await;
    let (layer, _) = &image.blobs[0];
    let destination = scratch.destination(":a").await.unwrap();
    let reused = destination.reuse_blob(layer, None).await.unwrap();
    assert_eq!(reused, Some(Reused::Present));
    put(destination.as_ref(), &image).await;
    destination.commit().await.unwrap();
    scratch.assert_holds(":a", &image).await;

    let mut bytes = std::fs::read(scratch.path()).unwrap();
    let at = bytes.windows(10).position(|window| window == b"layer that").unwrap();
    bytes[at] = b'x';
    std::fs::write(scratch.path(), &bytes).unwrap();
    let destination = scratch.destination(":a").await.unwrap();
    assert_eq!(destination.reuse_blob(layer, None).await.unwrap(), None);
    put(destination.as_ref(), &image).await;
    destination.commit().await.unwrap();
    scratch.assert_holds(":a", &image).await;
}

#[tokio::test]
async fn an_image_with_a_blob_missing_does_not_count_as_there() {
    let scratch = Scratch::new();
    let image = Image::of("one");
    let destination = scratch.destination(":a").await.unwrap();
    destination.put_manifest(image.named(), Role::Named).await.unwrap();
    destination.commit().await.unwrap();
    assert_eq!(scratch.destination(":a").await.unwrap().current().await.unwrap(), None);
    let source = scratch.source(":a").await.unwrap();
    let error = source.blob(&image.blobs[0].0).await.err().unwrap();
    let expected = format!(
        "reading archive `{}`: blob `{}` is missing",
        scratch.path().display(),
        image.blobs[0].0.digest
    );
    assert_eq!((error.kind(), error.to_string()), (Kind::NotFound, expected));
}

#[tokio::test]
async fn a_push_that_is_given_up_leaves_everything_as_it_was() {
    let scratch = Scratch::new();
    let destination = scratch.destination(":a").await.unwrap();
    put(destination.as_ref(), &Image::of("one")).await;
    drop(destination);
    assert_eq!(std::fs::read_dir(scratch.0.path()).unwrap().count(), 0);

    scratch.push(":a", &Image::of("one")).await;
    let before = std::fs::read(scratch.path()).unwrap();
    let destination = scratch.destination(":a").await.unwrap();
    put(destination.as_ref(), &Image::of("two")).await;
    drop(destination);
    assert!(std::fs::read(scratch.path()).unwrap() == before);
    scratch.assert_alone();
}

#[tokio::test]
async fn pushes_at_the_same_time_do_not_lose_each_other() {
    let scratch = Scratch::new();
    scratch.push(":first", &Image::of("first")).await;
    let names: Vec<String> = (0..6).map(|n| format!(":n{n}")).collect();
    let images: Vec<Image> = names.iter().map(|name| Image::of(name)).collect();
    let pushes = names.iter().zip(&images).map(|(name, image)| scratch.push(name, image));
    futures::future::join_all(pushes).await;
    for (name, image) in names.iter().zip(&images) {
        scratch.assert_holds(name, image).await;
    }
    scratch.assert_holds(":first", &Image::of("first")).await;
    scratch.assert_alone();
}

#[tokio::test]
async fn two_that_make_an_archive_at_the_same_time_are_told() {
    let scratch = Scratch::new();
    let first = scratch.destination(":a").await.unwrap();
    let second = scratch.destination(":b").await.unwrap();
    put(first.as_ref(), &Image::of("a")).await;
    put(second.as_ref(), &Image::of("b")).await;
    let (first, second) = tokio::join!(first.commit(), second.commit());
    // Either the second one saw the first one's archive and merged, or it lost the race and says so.
    let path = scratch.path().canonicalize().unwrap();
    for (name, result) in [(":a", first), (":b", second)] {
        match result {
            Ok(()) => scratch.assert_holds(name, &Image::of(&name[1..])).await,
            Err(error) => {
                let expected = format!("another process has just made `{}`", path.display());
                assert_eq!((error.to_string(), error.exit_code()), (expected, 75));
            }
        }
    }
    scratch.assert_alone();
}

/// Names with their contents.
type Members<'a> = &'a [(&'a str, &'a [u8])];

/// An archive with these members.
async fn archive(scratch: &Scratch, members: Members<'_>) {
    let target = ArchiveTarget::new(UserPath::anywhere(scratch.path()), 0o644);
    let writer = target.writer().await.unwrap();
    for (name, content) in members {
        writer.bytes(name, Bytes::copy_from_slice(content)).await.unwrap();
    }
    let held = target.hold().await.unwrap();
    target.finish(held).await.unwrap().publish().await.unwrap();
}

#[tokio::test]
async fn archives_that_are_not_ours_are_refused_and_left() {
    let layout = ("oci-layout", &br#"{"imageLayoutVersion":"1.0.0"}"#[..]);
    let too_large = vec![b' '; (16 << 20) + 1];
    let cases: [(Members<'_>, &str, Kind); 5] = [
        (&[("x", b"")], "it has no `oci-layout`, so it is not an OCI archive", Kind::InvalidImage),
        (&[layout], "`index.json` is missing", Kind::InvalidImage),
        (
            &[layout, ("index.json", b"{")],
            "`index.json` is malformed: EOF while parsing an object at line 1 column 1",
            Kind::InvalidImage,
        ),
        (
            &[layout, ("index.json", &too_large)],
            "member `index.json` has 16777217 bytes, more than the limit of 16777216",
            Kind::LimitExceeded,
        ),
        (
            &[("oci-layout", b"{\"imageLayoutVersion\":\"2.0.0\"}")],
            "version `2.0.0` of the OCI layout is not supported",
            Kind::TransportUnsupported,
        ),
    ];
    for (members, cause, kind) in cases {
        let scratch = Scratch::new();
        archive(&scratch, members).await;
        let before = std::fs::read(scratch.path()).unwrap();
        let path = scratch.path().display().to_string();
        let error = scratch.source("").await.err().unwrap();
        let expected = format!("opening `oci-archive:{path}`: reading archive `{path}`: {cause}");
        assert_eq!((error.to_string(), error.kind()), (expected, kind));
        let error = scratch.destination(":a").await.err().unwrap();
        let expected = format!(
            "opening `oci-archive:{path}:a`: `{path}` is there and is not an OCI archive: reading archive `{path}`: {cause}"
        );
        assert_eq!((error.to_string(), error.kind()), (expected, Kind::DestinationExists));
        assert!(std::fs::read(scratch.path()).unwrap() == before);
        scratch.assert_alone();
    }
}

#[tokio::test]
async fn a_damaged_manifest_is_not_passed_on() {
    let scratch = Scratch::new();
    let image = Image::of("one");
    scratch.push(":a", &image).await;
    let mut bytes = std::fs::read(scratch.path()).unwrap();
    let digest = image.blobs[1].0.digest.to_string();
    let at = bytes.windows(digest.len()).position(|window| window == digest.as_bytes()).unwrap();
    bytes[at + 10] = if bytes[at + 10] == b'0' { b'1' } else { b'0' };
    std::fs::write(scratch.path(), &bytes).unwrap();
    let source = scratch.source(":a").await.unwrap();
    let error = source.manifest(None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ContentMismatch);
    let start = format!(
        "reading archive `{}`: manifest `{}` has the digest `sha256:",
        scratch.path().display(),
        image.named().digest()
    );
    assert!(error.to_string().starts_with(&start), "{error}");

    // Its image is not there any more, but another one can't be pushed beside what is broken.
    let destination = scratch.destination(":b").await.unwrap();
    put(destination.as_ref(), &image).await;
    let error = destination.commit().await.unwrap_err();
    assert_eq!(error.kind(), Kind::DestinationExists);
    assert!(std::fs::read(scratch.path()).unwrap() == bytes);
    scratch.push(":a", &image).await;
    scratch.assert_holds(":a", &image).await;
    scratch.assert_alone();
}
