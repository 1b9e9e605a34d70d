mod foreign;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::access::Access;
use crate::blob::{Blob, Chunks};
use crate::error::{Error, Kind, Result};
use crate::image::{
    Annotations, Compression, Descriptor, Digest, ImageManifest, Manifest, ManifestFormat,
    MediaType,
};
use crate::transport::{BlobKind, ImageDestination, ImageSource, Reused, Role, Transport as _};

use super::DockerArchive;

/// An image whose layers are these bytes.
struct Image {
    config: Bytes,
    layers: Vec<Bytes>,
    manifest: Manifest,
}

impl Image {
    fn of(layers: &[&str]) -> Self {
        let layers: Vec<Bytes> = layers.iter().map(|text| Bytes::from(text.to_string())).collect();
        let diff_ids: Vec<_> =
            layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["a & b"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            diff_ids.join(",")
        );
        let config = Bytes::from(config);
        let plain = MediaType::of_layer(ManifestFormat::V2s2, Compression::None).unwrap();
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::of(MediaType::DOCKER_CONFIG, &config),
            layers: layers.iter().map(|layer| Descriptor::of(plain.clone(), layer)).collect(),
            subject: None,
            annotations: Annotations::new(),
            other: BTreeMap::new(),
        };
        let manifest = Manifest::from_image(image, MediaType::DOCKER_MANIFEST);
        Self { config, layers, manifest }
    }

    fn descriptor(&self, layer: usize) -> &Descriptor {
        &self.manifest.as_image().unwrap().layers[layer]
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

    /// A reference into the archive; `rest` is empty or starts with a colon.
    fn details(&self, rest: &str) -> String {
        format!("{}{rest}", self.path().display())
    }

    async fn destination(&self, rest: &str) -> Result<Box<dyn ImageDestination>> {
        let reference = DockerArchive.parse(&self.details(rest))?;
        reference.destination(&Access::default()).await
    }

    async fn source(&self, rest: &str) -> Result<Box<dyn ImageSource>> {
        let reference = DockerArchive.parse(&self.details(rest))?;
        reference.source(&Access::default()).await
    }

    async fn push(&self, rest: &str, image: &Image) {
        let destination = self.destination(rest).await.unwrap();
        put(destination.as_ref(), image).await;
        destination.commit().await.unwrap();
    }

    /// The names of the archive's members, in their order.
    fn members(&self) -> Vec<String> {
        let output = Command::new("tar").arg("-tf").arg(self.path()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    async fn assert_holds(&self, rest: &str, image: &Image) {
        let source = self.source(rest).await.unwrap();
        assert_eq!(source.manifest(None).await.unwrap(), image.manifest);
        for (index, layer) in image.layers.iter().enumerate() {
            assert_eq!(read(source.as_ref(), image.descriptor(index)).await.unwrap(), layer);
        }
        let config = &image.manifest.as_image().unwrap().config;
        assert_eq!(read(source.as_ref(), config).await.unwrap(), image.config);
    }

    fn assert_alone(&self) {
        let names: Vec<_> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["a.tar"]);
    }
}

async fn read(source: &dyn ImageSource, descriptor: &Descriptor) -> Result<Bytes> {
    let blob = Blob::verified(source.blob(descriptor).await?, descriptor);
    let chunks: Vec<Bytes> = blob.into_parts().0.try_collect().await?;
    Ok(chunks.concat().into())
}

fn stream(bytes: &Bytes) -> Chunks {
    futures::stream::iter([Ok(bytes.clone())]).boxed()
}

/// Writes an image; every other layer as one whose size nobody knows before its end.
async fn put(destination: &dyn ImageDestination, image: &Image) {
    for (index, layer) in image.layers.iter().enumerate() {
        let blob = match index % 2 {
            0 => Blob::measured(stream(layer)),
            _ => Blob::verified(stream(layer), image.descriptor(index)),
        };
        destination.put_blob(blob, BlobKind::Layer).await.unwrap();
    }
    let config = &image.manifest.as_image().unwrap().config;
    let blob = Blob::verified(stream(&image.config), config);
    destination.put_blob(blob, BlobKind::Config).await.unwrap();
    destination.put_manifest(&image.manifest, Role::Named).await.unwrap();
}

#[tokio::test]
async fn an_image_comes_back_as_it_was_pushed() {
    let scratch = Scratch::new();
    let image = Image::of(&["one", "two", "one"]);
    scratch.push(":r.io/a:1", &image).await;
    scratch.assert_alone();
    for rest in ["", ":@0", ":r.io/a:1"] {
        scratch.assert_holds(rest, &image).await;
    }
    let hex = |index: usize| Digest::of(&image.layers[index]).hex().to_owned();
    let config = Digest::of(&image.config);
    let members = scratch.members();
    let layers = [format!("{}.tar", hex(0)), format!("{}.tar", hex(1))];
    assert_eq!(members[..2], layers);
    assert_eq!(members[2], format!("{}.json", config.hex()));
    assert_eq!(members.len(), 3 + 3 * 3 + 2);
    assert!(members[3].ends_with("/layer.tar") && members[4].ends_with("/VERSION"));
    assert_eq!(members[members.len() - 2..], ["manifest.json", "repositories"]);
}

#[tokio::test]
async fn images_are_added_and_replaced_beside_the_others() {
    let scratch = Scratch::new();
    let (one, two, three) =
        (Image::of(&["base", "1"]), Image::of(&["base", "2"]), Image::of(&["base", "3"]));
    scratch.push(":a:1", &one).await;
    scratch.push(":b:1", &two).await;
    scratch.push("", &three).await;
    scratch.assert_holds(":a:1", &one).await;
    scratch.assert_holds(":b:1", &two).await;
    scratch.assert_holds(":@2", &three).await;

    scratch.push(":a:1", &three).await;
    scratch.assert_holds(":a:1", &three).await;
    scratch.assert_holds(":b:1", &two).await;
    let layer = |text: &str| format!("{}.tar", Digest::of(text.as_bytes()).hex());
    let members = scratch.members();
    assert!(!members.contains(&layer("1")), "the layer of a replaced image stayed");
    assert_eq!(members.iter().filter(|name| **name == layer("base")).count(), 1);
    let error = scratch.source(":@2").await.err().unwrap();
    let expected = format!(
        "opening `docker-archive:{}:@2`: there is no image `@2`: the archive holds 2",
        scratch.path().display()
    );
    assert_eq!(error.to_string(), expected);
    scratch.assert_alone();
}

#[tokio::test]
async fn the_image_that_is_there_is_known_by_its_config() {
    let scratch = Scratch::new();
    let image = Image::of(&["one"]);
    assert_eq!(scratch.destination(":a:1").await.unwrap().current().await.unwrap(), None);
    scratch.push(":a:1", &image).await;
    for rest in [":a:1", ""] {
        let current = scratch.destination(rest).await.unwrap().current().await.unwrap().unwrap();
        assert_eq!(current.config, Some(Digest::of(&image.config)));
        assert_eq!(current.digest, *image.manifest.digest());
        assert_eq!(current.size, image.manifest.bytes().len() as u64);
    }
    assert_eq!(scratch.destination(":b:1").await.unwrap().current().await.unwrap(), None);
}

#[tokio::test]
async fn pushing_an_image_again_changes_no_byte() {
    let scratch = Scratch::new();
    let image = Image::of(&["one", "two"]);
    for rest in [":a:1", ":b:1", ""] {
        scratch.push(rest, &image).await;
    }
    let before = std::fs::read(scratch.path()).unwrap();
    for rest in ["", ":b:1"] {
        scratch.push(rest, &image).await;
    }
    let listing = String::from_utf8_lossy(&before).into_owned();
    assert!(listing.contains(r#""RepoTags":["docker.io/library/b:1","docker.io/library/a:1"]"#));
    let config = format!("{}.json", Digest::of(&image.config).hex());
    assert_eq!(scratch.members().iter().filter(|name| **name == config).count(), 1);
    scratch.assert_holds("", &image).await;
    scratch.assert_holds(":a:1", &image).await;
}

#[tokio::test]
async fn blobs_that_are_there_are_taken_over_unless_they_are_damaged() {
    let scratch = Scratch::new();
    let (old, new) = (Image::of(&["same", "old"]), Image::of(&["same", "new"]));
    scratch.push(":a:1", &old).await;
    let reuse = async |destination: &dyn ImageDestination, index| {
        destination.reuse_blob(new.descriptor(index), None).await.unwrap()
    };
    let destination = scratch.destination(":a:1").await.unwrap();
    assert_eq!(reuse(destination.as_ref(), 0).await, Some(Reused::Present));
    assert_eq!(reuse(destination.as_ref(), 1).await, None);
    put(destination.as_ref(), &new).await;
    destination.commit().await.unwrap();
    scratch.assert_holds(":a:1", &new).await;

    let mut bytes = std::fs::read(scratch.path()).unwrap();
    let at = bytes.windows(4).position(|window| window == b"same").unwrap();
    bytes[at] = b'x';
    std::fs::write(scratch.path(), &bytes).unwrap();
    let destination = scratch.destination(":a:1").await.unwrap();
    assert_eq!(reuse(destination.as_ref(), 0).await, None);
    put(destination.as_ref(), &new).await;
    destination.commit().await.unwrap();
    scratch.assert_holds(":a:1", &new).await;
}

#[tokio::test]
async fn a_push_that_is_given_up_leaves_everything_as_it_was() {
    let scratch = Scratch::new();
    let image = Image::of(&["one", "two"]);
    let destination = scratch.destination(":a:1").await.unwrap();
    put(destination.as_ref(), &image).await;
    drop(destination);
    assert_eq!(std::fs::read_dir(scratch.0.path()).unwrap().count(), 0);

    scratch.push(":a:1", &image).await;
    let before = std::fs::read(scratch.path()).unwrap();
    let destination = scratch.destination(":a:1").await.unwrap();
    let broken = stream(&image.layers[0]).chain(futures::stream::iter([Err(Error::cancelled())]));
    let error =
        destination.put_blob(Blob::measured(broken.boxed()), BlobKind::Layer).await.unwrap_err();
    assert_eq!(error.to_string(), "the push was cancelled");
    put(destination.as_ref(), &Image::of(&["other"])).await;
    drop(destination);
    assert!(std::fs::read(scratch.path()).unwrap() == before);
    scratch.assert_alone();
}

#[tokio::test]
async fn pushes_at_the_same_time_do_not_lose_each_other() {
    let scratch = Scratch::new();
    scratch.push(":first:1", &Image::of(&["base"])).await;
    let images: Vec<Image> = (0..6).map(|n| Image::of(&["base", &n.to_string()])).collect();
    let names: Vec<String> = (0..6).map(|n| format!(":n{n}:1")).collect();
    futures::future::join_all(
        names.iter().zip(&images).map(|(name, image)| scratch.push(name, image)),
    )
    .await;
    for (name, image) in names.iter().zip(&images) {
        scratch.assert_holds(name, image).await;
    }
    scratch.assert_holds(":first:1", &Image::of(&["base"])).await;
    scratch.assert_alone();
}

#[tokio::test]
async fn manifests_that_do_not_fit_are_refused() {
    let scratch = Scratch::new();
    let image = Image::of(&["one"]);
    let destination = scratch.destination(":a:1").await.unwrap();
    let config = &image.manifest.as_image().unwrap().config;
    let blob = || Blob::verified(stream(&image.config), config);
    destination.put_blob(blob(), BlobKind::Config).await.unwrap();
    let refused = async |image: ImageManifest, media_type| {
        let manifest = Manifest::from_image(image, media_type);
        let error = destination.put_manifest(&manifest, Role::Named).await.unwrap_err();
        (error.kind(), error.to_string())
    };
    let own = image.manifest.as_image().unwrap();
    let message = "a Docker archive holds no `application/vnd.oci.image.manifest.v1+json`";
    let oci = refused(own.clone(), MediaType::OCI_MANIFEST).await;
    assert_eq!(oci, (Kind::ManifestRejected, message.to_owned()));
    let mut fewer = own.clone();
    fewer.layers.clear();
    let message = "the manifest has 0 layers and the config 1";
    let few = refused(fewer, MediaType::DOCKER_MANIFEST).await;
    assert_eq!(few, (Kind::InvalidImage, message.to_owned()));
    let mut other = own.clone();
    other.layers[0].digest = Digest::of(b"other");
    let message = format!(
        "layer `{}` is not the one the config names, `{}`",
        Digest::of(b"other"),
        Digest::of(b"one")
    );
    let wrong = refused(other, MediaType::DOCKER_MANIFEST).await;
    assert_eq!(wrong, (Kind::InvalidImage, message));
}

#[tokio::test]
async fn what_is_no_archive_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path().display().to_string();
    std::fs::write(scratch.path(), "a letter to a friend").unwrap();
    let error = scratch.destination("").await.err().unwrap();
    let expected = format!(
        "opening `docker-archive:{path}`: `{path}` is there and is not a Docker archive: reading archive `{path}`: it is not a tar archive"
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.next_step(), Some("choose another path, or remove the file first"));
    assert_eq!(std::fs::read(scratch.path()).unwrap(), b"a letter to a friend");

    std::fs::write(scratch.path(), "").unwrap();
    let image = Image::of(&["one"]);
    scratch.push("", &image).await;
    scratch.assert_holds("", &image).await;

    let error = scratch.destination(":@0").await.err().unwrap();
    let expected = format!(
        "opening `docker-archive:{path}:@0`: `@0` names an image by its place, which is for reading only"
    );
    assert_eq!((error.to_string(), error.exit_code()), (expected, 2));
}
