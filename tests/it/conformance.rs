//! What every transport promises, asked of every entry of the table.
//!
//! A new transport has to be given a [`Place`] here and nothing else; then each promise of `ImageSource` and
//! `ImageDestination` is held against it.

mod place;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use imagepush::blob::{Blob, Chunks};
use imagepush::error::{Error, Kind, Side};
use imagepush::image::{Descriptor, Digest, Manifest, MediaType};
use imagepush::options::{Layers, PushOptions};
use imagepush::transport::{
    self, BlobKind, Capabilities, ImageDestination, ImageIdentity, LayerForm, TRANSPORTS,
};

use self::place::Place;
use crate::support::images::{self, Content};
use crate::support::push;

/// Runs a check for every transport, and names the one that fails it.
async fn for_each<F: Future<Output = ()>>(check: impl Fn(Place) -> F) {
    for transport in TRANSPORTS {
        println!("transport {}", transport.name());
        check(Place::new(transport.name()).await).await;
    }
}

/// An image as a layout in a folder of its own, by its reference.
struct Original {
    folder: tempfile::TempDir,
    content: Content,
}

impl Original {
    fn new(content: Content) -> Self {
        let folder = tempfile::tempdir().unwrap();
        content.write_layout(folder.path(), Some("image"));
        Self { folder, content }
    }

    fn reference(&self) -> String {
        format!("oci:{}:image", self.folder.path().display())
    }

    fn corrupt(&self, digest: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.folder.path().join("blobs").join(digest.replace(':', "/"));
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

/// A way to spoil a blob, and its name.
type Change = (&'static str, fn(&mut Vec<u8>));

/// From `source` to the place, as it is.
fn into(source: &str, place: &Place) -> PushOptions {
    let mut options = push::options(source, &place.reference);
    options.destination.access = place.access.clone();
    options
}

/// From the place to `destination`, as it is.
fn out_of(place: &Place, destination: &str) -> PushOptions {
    let mut options = push::options(&place.reference, destination);
    options.source.access = place.access.clone();
    options
}

async fn open(place: &Place) -> Box<dyn ImageDestination> {
    let reference = transport::parse(&place.reference).unwrap();
    reference.destination(&place.access).await.unwrap()
}

async fn capabilities(place: &Place) -> Capabilities {
    open(place).await.capabilities()
}

fn chunks(parts: Vec<Result<Bytes, Error>>) -> Chunks {
    stream::iter(parts).boxed()
}

#[tokio::test]
async fn references_print_as_they_parse() {
    for_each(|place| async move {
        let reference = transport::parse(&place.reference).unwrap();
        assert_eq!(reference.to_string(), place.reference);
        let again = transport::parse(&reference.to_string()).unwrap();
        assert_eq!(again.to_string(), place.reference);
        assert!(place.reference.starts_with(&format!("{}:", reference.transport().name())));
    })
    .await;
}

#[tokio::test]
async fn an_image_survives_the_way_there_and_back() {
    for_each(|place| async move {
        let original = Original::new(images::image(1));
        let there = push::run(&into(&original.reference(), &place)).await.unwrap();
        let back = tempfile::tempdir().unwrap();
        let layout = format!("oci:{}:back", back.path().join("layout").display());
        let returned = push::run(&out_of(&place, &layout)).await.unwrap();
        match capabilities(&place).await.identity {
            ImageIdentity::Manifest => {
                assert_eq!(there.digest.to_string(), original.content.digest());
                assert_eq!(returned.digest, there.digest);
            }
            // The place makes manifests itself; the image is the same if its config and so its layers are.
            ImageIdentity::Config => {
                let manifest = std::fs::read(blob(&back.path().join("layout"), &returned.digest));
                let manifest = Manifest::parse(manifest.unwrap().into(), None).unwrap();
                let config = manifest.as_image().unwrap().config.digest.to_string();
                assert_eq!(config, original.content.manifest()["config"]["digest"]);
            }
        }
    })
    .await;
}

fn blob(layout: &std::path::Path, digest: &Digest) -> std::path::PathBuf {
    layout.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

#[tokio::test]
async fn an_index_is_kept_whole_or_refused_before_anything_moves() {
    for_each(|place| async move {
        let original = Original::new(images::index(2));
        let before = place.contents();
        let result = push::run(&into(&original.reference(), &place)).await;
        if capabilities(&place).await.index {
            let pushed = result.unwrap();
            assert_eq!(pushed.digest.to_string(), original.content.digest());
            assert_eq!((pushed.manifests.len(), pushed.blobs.sent), (3, 7));
            let back = tempfile::tempdir().unwrap();
            let layout = format!("oci:{}", back.path().join("layout").display());
            let returned = push::run(&out_of(&place, &layout)).await.unwrap();
            assert_eq!(returned.digest, pushed.digest);
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), Kind::TransportUnsupported);
            assert!(error.to_string().ends_with("cannot hold an index of images"), "{error}");
            assert_eq!(place.contents(), before);
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_push_sends_nothing_and_changes_nothing() {
    for_each(|place| async move {
        let original = Original::new(images::image(3));
        let options = into(&original.reference(), &place);
        let first = push::run(&options).await.unwrap();
        assert_eq!((first.already_present, first.blobs.sent), (false, 3));
        let contents = place.contents();
        let second = push::run(&options).await.unwrap();
        assert_eq!((second.already_present, second.blobs.sent), (true, 0));
        assert_eq!(second.digest, first.digest);
        assert_eq!(place.contents(), contents);
    })
    .await;
}

#[tokio::test]
async fn a_name_moves_to_another_image() {
    for_each(|place| async move {
        let (one, two) = (Original::new(images::image(4)), Original::new(images::image(5)));
        let first = push::run(&into(&one.reference(), &place)).await.unwrap();
        let second = push::run(&into(&two.reference(), &place)).await.unwrap();
        assert_ne!(first.digest, second.digest);
        let current = open(&place).await.current().await.unwrap().unwrap();
        assert_eq!(current.digest, second.digest);
        assert_eq!(current.media_type, second.media_type);
    })
    .await;
}

#[tokio::test]
async fn content_that_is_not_what_it_should_be_is_refused() {
    let changes: [Change; 3] = [
        ("another byte", |bytes| bytes[100] ^= 1),
        ("cut off", |bytes| bytes.truncate(200)),
        ("too long", |bytes| bytes.extend_from_slice(&[0; 100])),
    ];
    for (what, change) in changes {
        println!("{what}");
        for_each(|place| async move {
            let original = Original::new(images::image(6));
            let old = Original::new(images::image(7));
            push::run(&into(&old.reference(), &place)).await.unwrap();
            let before = place.named_contents();
            let layer =
                original.content.manifest()["layers"][1]["digest"].as_str().unwrap().to_owned();
            original.corrupt(&layer, change);
            let error = push::run(&into(&original.reference(), &place)).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.side()),
                (Kind::ContentMismatch, Some(Side::Source)),
                "{what}: {error}"
            );
            assert!(error.to_string().contains(&format!("reading blob `{layer}`")), "{error}");
            place.settles_to(&before).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_reader_that_fails_half_way_leaves_nothing_and_its_error_comes_back() {
    for_each(|place| async move {
        let before = place.named_contents();
        let bytes = Bytes::from(images::random(8, 300_000));
        let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
        let torn = || {
            let failure = Error::new(Kind::NetworkError, "the peer went away").on(Side::Source);
            chunks(vec![
                Ok(bytes.slice(..100_000)),
                Ok(bytes.slice(100_000..200_000)),
                Err(failure),
            ])
        };
        let destination = open(&place).await;
        destination.current().await.unwrap();
        for blob in [Blob::verified(torn(), &descriptor), Blob::measured(torn())] {
            let error = destination.put_blob(blob, BlobKind::Layer).await.unwrap_err();
            assert_eq!(error.to_string(), "the peer went away");
            assert_eq!((error.kind(), error.side()), (Kind::NetworkError, Some(Side::Source)));
        }
        assert_eq!(destination.reuse_blob(&descriptor, None).await.unwrap(), None);
        drop(destination);
        place.settles_to(&before).await;
    })
    .await;
}

#[tokio::test]
async fn a_blob_that_failed_can_be_written_again() {
    for_each(|place| async move {
        let original = Original::new(images::image(9));
        let manifest = original.content.manifest();
        let destination = open(&place).await;
        destination.current().await.unwrap();
        for blob in manifest["layers"].as_array().unwrap() {
            let descriptor: Descriptor = serde_json::from_value(blob.clone()).unwrap();
            let bytes = Bytes::from(original.content.blobs[&descriptor.digest.to_string()].clone());
            let failure = Error::new(Kind::NetworkError, "the peer went away");
            let torn = chunks(vec![Ok(bytes.slice(..50)), Err(failure)]);
            let torn = Blob::verified(torn, &descriptor);
            destination.put_blob(torn, BlobKind::Layer).await.unwrap_err();
            let whole = Blob::verified(chunks(vec![Ok(bytes)]), &descriptor);
            destination.put_blob(whole, BlobKind::Layer).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_dropped_before_commit_was_never_there() {
    for_each(|place| async move {
        let old = Original::new(images::image(10));
        push::run(&into(&old.reference(), &place)).await.unwrap();
        let before = place.named_contents();
        let destination = open(&place).await;
        destination.current().await.unwrap();
        for seed in 11..14 {
            let bytes = Bytes::from(images::random(seed, 100_000));
            let descriptor = Descriptor::of(MediaType::OCTET_STREAM, &bytes);
            let blob = Blob::verified(chunks(vec![Ok(bytes)]), &descriptor);
            destination.put_blob(blob, BlobKind::Layer).await.unwrap();
        }
        drop(destination);
        place.settles_to(&before).await;
    })
    .await;
}

#[tokio::test]
async fn an_artifact_is_kept_as_it_is_or_refused() {
    for_each(|place| async move {
        let original = Original::new(images::artifact(15));
        let result = push::run(&into(&original.reference(), &place)).await;
        if capabilities(&place).await.artifacts {
            assert_eq!(result.unwrap().digest.to_string(), original.content.digest());
        } else {
            let error = result.unwrap_err();
            assert!(
                error.to_string().ends_with(
                    "the destination holds container images only, not artifacts of type `application/vnd.example.thing`"
                ),
                "{error}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn plain_layers_take_the_form_that_the_place_wants() {
    for_each(|place| async move {
        let layers = [images::layer(16, 5000, images::Form::Plain)];
        let original = Original::new(Content::image("linux", "amd64", &layers));
        let mut options = into(&original.reference(), &place);
        options.layers = Layers::Keep;
        let pushed = push::run(&options).await.unwrap();
        let reference = transport::parse(&place.reference).unwrap();
        let manifest = reference.source(&place.access).await.unwrap().manifest(None).await.unwrap();
        assert_eq!(*manifest.digest(), pushed.digest);
        let compression = manifest.as_image().unwrap().layers[0].media_type.layer_compression();
        let compressed = compression == Some(imagepush::image::Compression::Gzip);
        assert_eq!(compressed, capabilities(&place).await.layers == LayerForm::Compressed);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for_each(|place| async move {
        let back = tempfile::tempdir().unwrap();
        let layout = format!("oci:{}", back.path().join("layout").display());
        let error = push::run(&out_of(&place, &layout)).await.unwrap_err();
        assert_eq!((error.kind(), error.side()), (Kind::NotFound, Some(Side::Source)), "{error}");
        assert_eq!(error.reason(), "SourceNotFound");
        assert!(!back.path().join("layout").exists(), "the destination was not made for nothing");
    })
    .await;
}

#[tokio::test]
async fn summaries_and_names_are_fit_for_help() {
    let names = transport::names();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(names, sorted, "sorted, and each name once");
    for transport in TRANSPORTS {
        let summary = transport.summary();
        assert!(!summary.is_empty() && !summary.ends_with('.') && !summary.contains('\n'));
        assert!(transport.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'));
    }
}

#[tokio::test]
async fn what_an_image_says_of_itself_is_only_carried() {
    for_each(|place| async move {
        let canary = tempfile::tempdir().unwrap();
        let path = canary.path().join("written");
        let hostile = format!(
            "$(touch {0}) `touch {0}`; touch {0} %s %n {{0}} \u{1b}[2J ../../x\n",
            path.display()
        );
        let layers = [images::layer(11, 3000, images::Form::Gzip)];
        let original = Original::new(Content::image_saying("linux", "amd64", &layers, &hostile));
        push::run(&into(&original.reference(), &place)).await.unwrap();
        let back = tempfile::tempdir().unwrap();
        let layout = format!("oci:{}:back", back.path().join("layout").display());
        push::run(&out_of(&place, &layout)).await.unwrap();
        let config = original.content.manifest()["config"]["digest"].as_str().unwrap().to_owned();
        let returned = back.path().join("layout/blobs").join(config.replace(':', "/"));
        assert_eq!(std::fs::read(returned).unwrap(), original.content.blobs[&config]);
        assert!(!path.exists());
    })
    .await;
}

#[tokio::test]
async fn places_hold_attachments_or_say_that_they_do_not() {
    for_each(|place| async move {
        let destination = open(&place).await;
        let subject = Digest::of(b"subject");
        let listed = destination.attachments(&subject, None).await;
        if destination.capabilities().attachments {
            assert_eq!(listed.unwrap(), []);
            return;
        }
        let refusals = [
            listed.unwrap_err(),
            destination.delete_attachment(&subject, &subject).await.unwrap_err(),
        ];
        for error in refusals {
            let expected = "nothing can be attached to an image in a place of this kind";
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (Kind::TransportUnsupported, expected)
            );
        }
    })
    .await;
}
