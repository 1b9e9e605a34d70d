//! Pushes with a companion: what its failures say, and what its reading costs.

use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::listener::Listener;
use super::memory::Memory;
use super::{options, pair};
use crate::blob::{LayerObserver, Pace};
use crate::engine::companion::{Companion, Ends, Motion};
use crate::engine::{Progress, push_with};
use crate::error::{Error, Kind, Result};
use crate::image::{Descriptor, ManifestFormat};
use crate::options::PushOptions;

/// Reads all layers, whether they move or not; fails at the end if it is told to.
struct Reader {
    fails: bool,
}

struct Looks;

impl LayerObserver for Looks {
    fn take(&mut self, _: &[u8]) -> bool {
        true
    }

    fn end(self: Box<Self>, _: Option<String>) {}
}

#[async_trait]
impl Companion for Reader {
    async fn prepare(&self, ends: &Ends<'_>, _: Motion) -> Result<()> {
        for layer in ends.origin.images().await?.iter().filter_map(|image| image.as_image()) {
            for layer in &layer.layers {
                ends.origin.layer(layer, || Box::new(Looks)).await?;
            }
        }
        Ok(())
    }

    async fn attach(&self, _: &Ends<'_>, _: &Descriptor) -> Result<bool> {
        if self.fails { Err(Error::new(Kind::StorageFailed, "no room")) } else { Ok(false) }
    }
}

async fn push(options: &PushOptions, fails: bool) -> (Result<bool>, Vec<String>) {
    let listener = Arc::new(Listener::default());
    let progress: Arc<dyn Progress> = listener.clone();
    let cancel = CancellationToken::new();
    let pushed = push_with(options, &Reader { fails }, &progress, &cancel).await;
    (pushed.map(|pushed| pushed.already_present), listener.events())
}

#[tokio::test]
async fn the_image_is_said_to_be_there_only_if_it_is() {
    let there = ", which is at the destination,";
    // A place that publishes with the manifest; one that does so at the commit, and one that has the image already.
    for (at_once, before, said) in [(true, false, there), (false, false, ""), (false, true, there)]
    {
        let (source, destination, manifest) = pair();
        let options = options(&source, &destination);
        if before {
            super::run(&options).await.unwrap();
        }
        if at_once {
            destination.store().publish_at_once();
        }
        let error = push(&options, true).await.0.unwrap_err();
        let expected = format!(
            "pushing `memory:source` to `memory:destination`: \
             putting beside the image{said} what belongs to it: no room"
        );
        assert_eq!(error.to_string(), expected);
        let named = (!said.is_empty()).then(|| manifest.digest().clone());
        assert_eq!(destination.store().named(), named);
    }
}

#[tokio::test(start_paused = true)]
async fn layers_that_are_only_looked_into_are_read_at_the_pace_that_is_given() {
    let (source, destination) = (Memory::new("source"), Memory::new("destination"));
    let layers: Vec<Vec<u8>> = (0..4).map(|n| vec![n; 10_000]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let manifest = source.store().add_image(ManifestFormat::Oci, &layers);
    source.store().name(&manifest);
    let mut options = options(&source, &destination);
    super::run(&options).await.unwrap();
    options.pace = Pace::new(NonZeroU64::new(10_000).unwrap());
    let start = Instant::now();
    let (present, events) = push(&options, false).await;
    assert!(present.unwrap());
    // The last layer doesn't wait until it is paid for.
    let took = start.elapsed().as_secs_f64();
    assert!((2.8..3.3).contains(&took), "{took}");
    let layers = &manifest.as_image().unwrap().layers;
    let read = layers.iter().map(|layer| format!("reading {} of 10000 bytes", layer.digest));
    assert_eq!(events, read.chain(["attaching".to_owned()]).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_done_last_is_told_before_it_is_done() {
    let (source, destination, manifest) = pair();
    let (_, events) = push(&options(&source, &destination), false).await;
    let written = format!("manifest {}", manifest.digest());
    assert!(
        events.ends_with(&["naming".to_owned(), written, "attaching".to_owned()]),
        "{events:?}"
    );
}
