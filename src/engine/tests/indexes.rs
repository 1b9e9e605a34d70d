//! Pushes of indexes: how much is done at the same time, and what is done once.

use super::memory::{Call, Memory};
use super::{options, run};
use crate::engine::preview;
use crate::image::{Index, Manifest, ManifestFormat, MediaType};
use crate::limits::PARALLEL_INSTANCES;
use crate::options::PushOptions;
use crate::transport::Role;
use tokio_util::sync::CancellationToken;

/// A source with an index of these manifests, and an empty destination.
fn pair_of(entries: impl FnOnce(&Memory) -> Vec<Manifest>) -> (Memory, Memory, Manifest) {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let entries = entries(&source);
    let index = index(&source, &entries);
    source.store().name(&index);
    (source, destination, index)
}

fn index(memory: &Memory, entries: &[Manifest]) -> Manifest {
    let entries = entries.iter().map(Manifest::descriptor).collect();
    let index = Manifest::from_index(Index::new(entries), MediaType::OCI_INDEX);
    memory.store().add_manifest(&index);
    index
}

#[tokio::test]
async fn nesting_does_not_multiply_the_manifests_that_move_at_once() {
    let (source, destination, named) = pair_of(|source| {
        let image = |n: usize| {
            let layer = n.to_string();
            source.store().add_image(ManifestFormat::Oci, &[layer.as_bytes()])
        };
        let nested = |m: usize| {
            let images: Vec<Manifest> = (0..20).map(|n| image(20 * m + n)).collect();
            index(source, &images)
        };
        (0..3).map(nested).collect()
    });
    run(&options(&source, &destination)).await.unwrap();
    assert_eq!(destination.store().named(), Some(named.digest().clone()));
    assert_eq!(source.store().busiest(), PARALLEL_INSTANCES);
    assert_eq!(destination.store().busiest(), PARALLEL_INSTANCES);
}

#[tokio::test]
async fn an_image_that_is_listed_twice_is_put_once() {
    let (source, destination, index) = pair_of(|source| {
        let image = source.store().add_image(ManifestFormat::Oci, &[b"arm"]);
        vec![image.clone(), image]
    });
    run(&options(&source, &destination)).await.unwrap();
    assert_eq!(destination.store().named(), Some(index.digest().clone()));
    let image = index.as_index().unwrap().manifests[0].digest.clone();
    let calls = destination.store().calls();
    let puts =
        calls.iter().filter(|call| **call == Call::PutManifest(image.clone(), Role::Instance));
    assert_eq!(puts.count(), 1);
}

#[tokio::test]
async fn a_format_that_is_asked_for_holds_for_the_images_of_an_index_too() {
    // As `docker buildx imagetools create` makes it of Docker's images.
    let (source, destination, mixed) =
        pair_of(|source| vec![source.store().add_image(ManifestFormat::V2s2, &[b"layer"])]);
    let as_it_is = options(&source, &destination);
    run(&as_it_is).await.unwrap();
    assert!(run(&as_it_is).await.unwrap().already_present);

    let converted = PushOptions { format: Some(ManifestFormat::Oci), ..as_it_is };
    let seen = preview(&converted, &CancellationToken::new()).await.unwrap();
    let pushed = run(&converted).await.unwrap();
    assert_eq!((seen.already_present, seen.digest), (false, Some(pushed.digest.clone())));
    assert!(!pushed.already_present && pushed.digest != *mixed.digest());
    let index = destination.store().manifest(&pushed.digest);
    let types: Vec<_> =
        index.as_index().unwrap().manifests.iter().map(|it| &it.media_type).collect();
    assert_eq!(types, [&MediaType::OCI_MANIFEST]);
    assert!(run(&converted).await.unwrap().already_present);
}
