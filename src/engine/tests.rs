//! Pushes between transports in memory, which record every call and fail where a test says so.

mod companions;
mod indexes;
mod listener;
mod memory;
mod transport;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::memory::{Call, Memory};
use super::*;
use crate::access::Access;
use crate::blob::{Codec, CodecMemory, Pace};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Compression, Descriptor, Index, Manifest, ManifestFormat};
use crate::limits::PARALLEL_BLOBS;
use crate::options::{BundleClues, CustomResources, Endpoint, Layers, Platforms, Retry};
use crate::transport::Role;

fn options(source: &Memory, destination: &Memory) -> PushOptions {
    let endpoint = |memory: &Memory| Endpoint {
        reference: Arc::new(memory.clone()),
        access: Access::default(),
    };
    PushOptions {
        source: endpoint(source),
        destination: endpoint(destination),
        platforms: Platforms::All,
        format: None,
        layers: Layers::Keep,
        retry: Retry { limit: 0, delay: Some(Duration::ZERO) },
        verify_source: false,
        pace: Pace::default(),
        codecs: CodecMemory::default(),
        custom_resources: CustomResources::default(),
        clues: BundleClues::default(),
        verify_after_push: false,
        overwrites: None,
    }
}

async fn run(options: &PushOptions) -> Result<Pushed> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    push(options, &progress, &CancellationToken::new()).await
}

/// Two memories, the first of them with an image of two layers.
fn pair() -> (Memory, Memory, Manifest) {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let manifest = source.store().add_image(ManifestFormat::Oci, &[b"one", b"two"]);
    source.store().name(&manifest);
    (source, destination, manifest)
}

fn counts(sent: u64, reused: u64, mounted: u64) -> BlobCounts {
    BlobCounts { sent, reused, mounted }
}

#[tokio::test]
async fn blobs_come_first_and_the_name_last() {
    let (source, destination, manifest) = pair();
    let pushed = run(&options(&source, &destination)).await.unwrap();
    assert_eq!(pushed.digest, *manifest.digest());
    assert_eq!(pushed.blobs, counts(3, 0, 0));
    assert_eq!(destination.store().named(), Some(manifest.digest().clone()));
    let calls = destination.store().calls();
    assert_eq!(calls.first(), Some(&Call::Current));
    let put = Call::PutManifest(manifest.digest().clone(), Role::Named);
    let end = [put, Call::Prepare, Call::Commit];
    assert_eq!(calls[calls.len() - 3..], end);
    assert_eq!(calls.len(), 4 + 2 * 3, "{calls:?}");
}

#[tokio::test]
async fn an_equal_destination_is_asked_once_and_left_alone() {
    let (source, destination, _) = pair();
    let options = options(&source, &destination);
    let first = run(&options).await.unwrap();
    destination.store().forget_calls();
    let second = run(&options).await.unwrap();
    assert_eq!(destination.store().calls(), [Call::Current]);
    assert_eq!((second.digest, second.already_present), (first.digest, true));
    assert_eq!((second.blobs, second.size_bytes), (counts(0, 0, 0), first.size_bytes));
}

#[tokio::test(start_paused = true)]
async fn blobs_are_read_at_the_pace_that_is_given() {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let layers: Vec<Vec<u8>> = (0..4).map(|n| vec![n; 10_000]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let manifest = source.store().add_image(ManifestFormat::Oci, &layers);
    source.store().name(&manifest);
    let pace = Pace::new(std::num::NonZeroU64::new(10_000).unwrap());
    let start = tokio::time::Instant::now();
    run(&PushOptions { pace, ..options(&source, &destination) }).await.unwrap();
    // The config, and three layers before the last one, which doesn't wait until it is paid for.
    let took = start.elapsed().as_secs_f64();
    assert!((2.8..3.3).contains(&took), "{took}");
}

#[tokio::test]
async fn a_converted_image_is_recognised_as_well() {
    let (source, destination, _) = pair();
    let mut options = options(&source, &destination);
    options.format = Some(ManifestFormat::V2s2);
    let first = run(&options).await.unwrap();
    assert_eq!(first.media_type, MediaType::DOCKER_MANIFEST);
    destination.store().forget_calls();
    assert!(run(&options).await.unwrap().already_present);
    assert_eq!(destination.store().calls(), [Call::Current]);
}

#[tokio::test]
async fn blobs_that_are_there_are_not_sent() {
    let (source, destination, _) = pair();
    destination.store().put_blob(b"one");
    destination.store().mountable(b"two");
    let pushed = run(&options(&source, &destination)).await.unwrap();
    assert_eq!(pushed.blobs, counts(1, 1, 1));
    assert_eq!(pushed.bytes_sent, memory::config(&[b"one", b"two"]).len() as u64);
}

#[tokio::test]
async fn a_store_by_digest_is_believed_until_the_destination_refuses() {
    for (verify_source, puts) in [(false, 1), (true, 0)] {
        let (source, destination, manifest) = pair();
        let layer = &manifest.as_image().unwrap().layers[0];
        source.store().damage(&layer.digest, b"eno");
        let mut options = options(&source, &destination);
        options.verify_source = verify_source;
        for memory in [&source, &destination] {
            memory.store().verify();
        }
        let error = run(&options).await.unwrap_err();
        let place = format!(" from `memory:source/{}`", layer.digest);
        let place = if verify_source { "" } else { &place };
        let expected = format!(
            "pushing `memory:source` to `memory:destination`: \
             reading blob `{}`{place}: the content has the digest `{}` instead of `{}`",
            layer.digest,
            Digest::of(b"eno"),
            layer.digest
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!((error.side(), error.kind()), (Some(Side::Source), Kind::ContentMismatch));
        let sent = Call::PutBlob(layer.digest.clone());
        let calls = destination.store().calls();
        assert_eq!(calls.iter().filter(|call| **call == sent).count(), puts);
        assert_eq!(destination.store().named(), None);
    }
}

#[tokio::test]
async fn what_a_destination_says_nothing_of_is_hashed_and_then_no_longer_believed() {
    for confirms in [true, false] {
        let (source, destination) = (Memory::new("source"), Memory::new("destination"));
        // More of them than are sent at the same time.
        let layers: Vec<Vec<u8>> = (0..9).map(|n| vec![n; (2 << 20) - usize::from(n)]).collect();
        let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let manifest = source.store().add_image(ManifestFormat::Oci, &layers);
        source.store().name(&manifest);
        source.store().verify();
        if confirms {
            destination.store().verify();
        } else {
            destination.store().verify_silently();
        }
        let pushed = run(&options(&source, &destination)).await.unwrap();
        assert_eq!(pushed.blobs, counts(10, 0, 0));
        let layers = &manifest.as_image().unwrap().layers;
        let reads = layers.iter().map(|layer| source.store().reads_of(&layer.digest));
        // Those that are on their way when the first one has come.
        let twice = if confirms { 0 } else { PARALLEL_BLOBS };
        assert_eq!(reads.sum::<usize>(), layers.len() + twice);
        for layer in layers {
            let sent = Call::PutBlob(layer.digest.clone());
            let calls = destination.store().calls();
            assert_eq!(calls.iter().filter(|call| **call == sent).count(), 1);
        }
    }
}

#[tokio::test]
async fn shared_blobs_of_an_index_move_once() {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"];
    let index = source.store().add_index(&platforms, &[b"shared"]);
    source.store().name(&index);
    let pushed = run(&options(&source, &destination)).await.unwrap();
    assert_eq!(pushed.digest, *index.digest());
    // The shared layer, and for each image one of its own and its config.
    assert_eq!(pushed.blobs, counts(1 + 2 * 3, 0, 0));
    let names: Vec<_> =
        pushed.manifests.iter().map(|m| m.platform.clone().unwrap().to_string()).collect();
    assert_eq!(names, platforms);
    let puts = destination.store().calls();
    let sent = puts.iter().filter(|call| matches!(call, Call::PutBlob(_))).count();
    assert_eq!(sent, 1 + 2 * 3, "{puts:?}");
    let last =
        puts.iter().position(|call| matches!(call, Call::PutManifest(d, _) if d == index.digest()));
    assert_eq!(last, Some(puts.len() - 3));
}

#[tokio::test]
async fn one_platform_or_some_are_chosen_from_an_index() {
    let source = Memory::new("source");
    let index = source.store().add_index(&["linux/amd64", "linux/arm64", "windows/amd64"], &[]);
    source.store().name(&index);
    let entries = index.as_index().unwrap().manifests.clone();
    let cases = [
        (Platforms::One("linux/arm64".parse().unwrap()), Ok(entries[1].digest.clone())),
        (Platforms::All, Ok(index.digest().clone())),
        (
            Platforms::List(vec!["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()]),
            Ok(subset(&entries[..2])),
        ),
        (
            Platforms::One("linux/s390x".parse().unwrap()),
            Err("pushing `memory:source` to `memory:destination`: the index has no image for linux/s390x".to_owned()),
        ),
    ];
    for (platforms, expected) in cases {
        let destination = Memory::new("destination");
        let mut options = options(&source, &destination);
        options.platforms = platforms;
        let found = run(&options).await.map(|pushed| pushed.digest).map_err(|e| e.to_string());
        assert_eq!(found, expected);
    }
}

fn subset(entries: &[Descriptor]) -> Digest {
    let index = Manifest::from_index(Index::new(entries.to_vec()), MediaType::OCI_INDEX);
    index.digest().clone()
}

#[tokio::test]
async fn a_single_image_place_refuses_an_index_before_anything_moves() {
    let (source, destination) = (Memory::new("source"), Memory::single("destination"));
    let index = source.store().add_index(&["linux/amd64"], &[]);
    source.store().name(&index);
    let error = run(&options(&source, &destination)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pushing `memory:source` to `memory:destination`: `memory` cannot hold an index of images"
    );
    assert_eq!(error.next_step(), Some("choose one platform, as in `--platform linux/amd64`"));
    assert_eq!(destination.store().calls(), [Call::Current]);
}

#[tokio::test]
async fn layers_are_compressed_and_checked_against_their_diff_ids() {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let plain = source.store().add_plain_image(&[b"a layer"]);
    source.store().name(&plain);
    let mut options = options(&source, &destination);
    options.layers = Layers::Compress(Codec::new(Compression::Zstd, None).unwrap());
    let pushed = run(&options).await.unwrap();
    {
        let store = destination.store();
        let written = store.manifest(&pushed.digest);
        let layer = &written.as_image().unwrap().layers[0];
        assert_eq!(layer.media_type.layer_compression(), Some(Compression::Zstd));
        assert_eq!(zstd::decode_all(&store.blob(&layer.digest)[..]).unwrap(), b"a layer");
    }

    let lying = source.store().add_plain_image_with_diff_ids(&[b"a layer"], &[b"another"]);
    source.store().name(&lying);
    let error = run(&options).await.unwrap_err();
    assert_eq!((error.kind(), error.side()), (Kind::ContentMismatch, Some(Side::Source)));
    assert!(error.to_string().contains(": decompressing layer `sha256:"), "{error}");
    assert_eq!(destination.store().named(), Some(pushed.digest), "the old image is still there");
}

#[tokio::test]
async fn a_rejected_format_is_followed_by_the_next_one_unless_it_was_asked_for() {
    let (source, destination, _) = pair();
    destination.store().reject(ManifestFormat::Oci);
    let mut options = options(&source, &destination);
    let pushed = run(&options).await.unwrap();
    assert_eq!(pushed.media_type, MediaType::DOCKER_MANIFEST);
    assert_eq!(pushed.blobs, counts(3, 0, 0));
    options.format = Some(ManifestFormat::Oci);
    let error = run(&options).await.unwrap_err();
    assert_eq!((error.kind(), error.side()), (Kind::ManifestRejected, Some(Side::Destination)));
}

#[tokio::test]
async fn wrong_content_of_the_source_is_refused() {
    let digest = |bytes: &[u8]| Digest::of(bytes);
    let cases: [(&'static [u8], String); 3] = [
        (
            b"oNe",
            format!(
                "the content has the digest `{}` instead of `{}`",
                digest(b"oNe"),
                digest(b"one")
            ),
        ),
        (b"on", "the content has 2 bytes instead of 3".into()),
        (b"one and more", "the content goes on after its 3 bytes".into()),
    ];
    for (bytes, message) in cases {
        let (source, destination, _) = pair();
        source.store().corrupt(b"one", bytes);
        let error = run(&options(&source, &destination)).await.unwrap_err();
        let expected = format!(
            "pushing `memory:source` to `memory:destination`: reading blob `{}`: {message}",
            digest(b"one")
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!((error.kind(), error.side()), (Kind::ContentMismatch, Some(Side::Source)));
        assert_eq!(destination.store().named(), None);
    }
}

#[tokio::test]
async fn an_instance_must_be_what_the_index_says() {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let index = source.store().add_index(&["linux/amd64"], &[]);
    let mut lying = index.as_index().unwrap().clone();
    lying.manifests[0].size += 1;
    let lying = Manifest::from_index(lying, MediaType::OCI_INDEX);
    source.store().add_manifest(&lying);
    source.store().name(&lying);
    let error = run(&options(&source, &destination)).await.unwrap_err();
    assert_eq!((error.kind(), error.side()), (Kind::ContentMismatch, Some(Side::Source)));
    assert_eq!(destination.store().calls(), [Call::Current]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_passing_is_tried_again() {
    let (source, destination, _) = pair();
    let mut options = options(&source, &destination);
    options.retry = Retry { limit: 2, delay: None };
    let busy = || Error::new(Kind::RegistryUnavailable, "the registry answered 503");
    destination.store().fail_times(2, busy());
    let pushed = run(&options).await.unwrap();
    assert_eq!(pushed.blobs, counts(3, 0, 0));
    destination.store().unname();
    destination.store().fail_times(usize::MAX, busy());
    let error = run(&options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pushing `memory:source` to `memory:destination`: looking at what the destination has: the registry answered 503"
    );
    assert_eq!((error.exit_code(), error.side()), (75, Some(Side::Destination)));
}

#[tokio::test]
async fn cancelling_at_any_step_leaves_the_name_as_it_was() {
    for (steps, at_once) in (0..60).flat_map(|steps| [(steps, false), (steps, true)]) {
        let (source, destination, manifest) = pair();
        if at_once {
            destination.store().publish_at_once();
        }
        let cancel = CancellationToken::new();
        destination.store().cancel_after(steps, &cancel);
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        let result = push(&options(&source, &destination), &progress, &cancel).await;
        let named = destination.store().named();
        match result {
            Ok(_) => assert_eq!(named, Some(manifest.digest().clone()), "{steps}"),
            Err(error) => {
                assert_eq!((error.kind(), named), (Kind::Cancelled, None), "{steps}");
                assert_eq!(error.exit_code(), 130);
            }
        }
    }
}

#[tokio::test]
async fn waiting_before_the_commit_can_be_interrupted() {
    let (source, destination, _) = pair();
    run(&options(&source, &destination)).await.unwrap();
    let calls = destination.store().calls();
    let at = calls.iter().position(|call| *call == Call::Prepare).unwrap();
    let (source, destination, _) = pair();
    let cancel = CancellationToken::new();
    destination.store().cancel_after(at, &cancel);
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let error = push(&options(&source, &destination), &progress, &cancel).await.unwrap_err();
    assert_eq!((error.kind(), destination.store().named()), (Kind::Cancelled, None));
    assert_eq!(destination.store().calls().last(), Some(&Call::Prepare));
}

/// A lease that is lost.
struct Lost;

#[async_trait::async_trait]
impl StillWanted for Lost {
    async fn check(&self) -> Result<()> {
        Err(Error::new(Kind::Cancelled, "another one leads by now"))
    }
}

#[tokio::test]
async fn a_push_whose_condition_ends_changes_no_name() {
    for at_once in [true, false] {
        let (source, destination, manifest) = pair();
        if at_once {
            destination.store().publish_at_once();
        }
        let wanted = Wanted::until_cancelled(&CancellationToken::new()).while_holds(Arc::new(Lost));
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        let error = push(&options(&source, &destination), &progress, wanted).await.unwrap_err();
        assert!(error.to_string().ends_with("another one leads by now"), "{error}");
        assert_eq!(error.next_step(), None);
        let put = Call::PutManifest(manifest.digest().clone(), Role::Named);
        let calls = destination.store().calls();
        assert_eq!(calls.contains(&put), !at_once);
        assert!(!calls.contains(&Call::Commit));
    }
}

#[tokio::test]
async fn what_an_index_lacks_is_sent_at_last_whatever_the_destination_says() {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let index = source.store().add_index(&["linux/amd64", "linux/arm64"], &[b"shared"]);
    source.store().name(&index);
    destination.store().lose(b"shared");
    run(&options(&source, &destination)).await.unwrap();
    assert_eq!(destination.store().named(), Some(index.digest().clone()));
}

#[tokio::test]
async fn a_push_that_is_cancelled_with_its_outcome_open_says_so() {
    let (source, destination, manifest) = pair();
    destination.store().fall_silent();
    let mut options = options(&source, &destination);
    run(&options).await.unwrap();
    let put = Call::PutManifest(manifest.digest().clone(), Role::Named);
    let at = destination.store().calls().iter().position(|call| *call == put).unwrap();

    let (source, destination, _) = pair();
    destination.store().fall_silent();
    options.source.reference = Arc::new(source);
    options.destination.reference = Arc::new(destination.clone());
    options.retry = Retry { limit: 1, delay: None };
    let cancel = CancellationToken::new();
    destination.store().cancel_after(at, &cancel);
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let error = push(&options, &progress, &cancel).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
    let hint = "the name may have been changed; push again, which finds out";
    assert_eq!(error.next_step(), Some(hint));
}

#[tokio::test]
async fn a_destination_by_digest_takes_only_that_image() {
    let (source, destination, manifest) = pair();
    let right = destination.pinned(manifest.digest());
    assert_eq!(run(&options(&source, &right)).await.unwrap().digest, *manifest.digest());
    let other = Digest::of(b"other");
    let error = run(&options(&source, &Memory::new("x").pinned(&other))).await.unwrap_err();
    let expected = format!(
        "pushing `memory:source` to `memory:x`: the image has the digest `{}`, but the destination names `{other}`",
        manifest.digest()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_preview_tells_what_a_push_would_do_and_does_nothing() {
    let (source, destination, manifest) = pair();
    let mut options = options(&source, &destination);
    let cancel = CancellationToken::new();
    let seen = preview(&options, &cancel).await.unwrap();
    assert_eq!(seen.digest.as_ref(), Some(manifest.digest()));
    let actions: Vec<_> = seen.images[0].blobs.iter().map(|blob| blob.action).collect();
    assert_eq!((actions, seen.already_present), (vec!["keep", "keep", "keep"], false));
    assert_eq!(destination.store().calls(), [Call::Current]);
    options.layers = Layers::Compress(Codec::new(Compression::Zstd, None).unwrap());
    let seen = preview(&options, &cancel).await.unwrap();
    let actions: Vec<_> = seen.images[0].blobs.iter().map(|blob| blob.action).collect();
    assert_eq!((actions, seen.digest), (vec!["compress", "compress", "keep"], None));
}

#[tokio::test]
async fn progress_is_told_blob_by_blob() {
    let (source, destination, _) = pair();
    let listener = Arc::new(listener::Listener::default());
    let progress: Arc<dyn Progress> = listener.clone();
    push(&options(&source, &destination), &progress, &CancellationToken::new()).await.unwrap();
    let events = listener.events();
    assert_eq!(events.iter().filter(|event| event.starts_with("started")).count(), 3);
    assert_eq!(events.iter().filter(|event| event.starts_with("sent")).count(), 3);
    assert!(events[0].starts_with("planned 3 blobs"), "{events:?}");
    assert!(events.contains(&format!("advanced {} by 3", Digest::of(b"one"))));
}

#[tokio::test]
async fn every_claim_about_a_digest_is_checked() {
    let (source, destination, manifest) = pair();
    let lying = source.store().change_image(&manifest, |image| {
        let mut again = image.layers[0].clone();
        again.size += 1;
        image.layers.push(again);
    });
    source.store().name(&lying);
    let error = run(&options(&source, &destination)).await.unwrap_err();
    assert_eq!((error.kind(), error.side()), (Kind::ContentMismatch, Some(Side::Source)));
    assert_eq!(destination.store().named(), None);

    let twice = source.store().add_plain_image_with_diff_ids(&[b"one", b"one"], &[b"one", b"two"]);
    source.store().name(&twice);
    let error = run(&options(&source, &destination)).await.unwrap_err();
    assert!(error.to_string().contains(": decompressing layer `sha256:"), "{error}");
    assert_eq!(destination.store().named(), None);
}

#[tokio::test]
async fn an_image_has_as_many_layers_as_its_config_says() {
    for (layers, diff_ids) in
        [(&[&b"one"[..], b"two"][..], &[&b"one"[..]][..]), (&[b"one"], &[b"one", b"two"])]
    {
        let (source, destination) = (Memory::new("source"), Memory::new("destination"));
        let lying = source.store().add_plain_image_with_diff_ids(layers, diff_ids);
        source.store().name(&lying);
        let mut options = options(&source, &destination);
        options.layers = Layers::Compress(Codec::new(Compression::Gzip, None).unwrap());
        let error = run(&options).await.unwrap_err();
        assert_eq!((error.kind(), error.side()), (Kind::InvalidImage, Some(Side::Source)));
        let (layers, diff_ids) = (layers.len(), diff_ids.len());
        let message = format!("the image has {layers} layers, but its config lists {diff_ids}");
        assert!(error.to_string().ends_with(&message), "{error}");
        assert_eq!(destination.store().named(), None);
    }
}

#[tokio::test]
async fn an_index_that_asks_for_endless_reading_is_refused() {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let mut level = source.store().add_image(ManifestFormat::Oci, &[]);
    for _ in 0..3 {
        let entries = vec![level.descriptor(); 100];
        level = Manifest::from_index(Index::new(entries), MediaType::OCI_INDEX);
        source.store().add_manifest(&level);
    }
    source.store().name(&level);
    let error = run(&options(&source, &destination)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pushing `memory:source` to `memory:destination`: \
         the index leads to more than 4096 manifests or 33554432 bytes of them"
    );
    assert_eq!(destination.store().calls(), [Call::Current]);
}

#[tokio::test]
async fn an_answer_that_gets_lost_is_looked_up() {
    let (source, destination, manifest) = pair();
    destination.store().fall_silent();
    let pushed = run(&options(&source, &destination)).await.unwrap();
    assert_eq!(pushed.digest, *manifest.digest());
    let calls = destination.store().calls();
    assert_eq!(calls[calls.len() - 3..], [Call::Current, Call::Prepare, Call::Commit]);
}
