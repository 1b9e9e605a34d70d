//! Finds the bundle of an image that is being read: attached to it, or in its layers.
//!
//! What is attached comes first, since nothing has to be unpacked for it. Layers are read from the top down, and no further
//! than it takes; those that have been seen on their way aren't read again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attached::{ARTIFACT_TYPE, newest};
use super::readings::Readings;
use super::{Bundle, Folder, LayerReader, LayerView, Merge};
use crate::blob::LayerObserver;
use crate::engine::{Origin, aside};
use crate::error::{Error, Kind, Result, Side};
use crate::image::{Descriptor, Digest, ImageManifest, Manifest};
use crate::limits::{MAX_BUNDLE, MAX_BUNDLE_VIEWS};

/// The label by which an image says that it carries a bundle, and in which folder.
pub const LABEL: &str = "imagepush.dev/bundle";
/// What the media types of encrypted layers end with.
const ENCRYPTED: &str = "+encrypted";

/// What layers say of the folder, by their digests, as far as they have been seen.
#[derive(Clone, Default)]
pub(super) struct Views(Arc<Shared>);

#[derive(Default)]
struct Shared {
    views: Mutex<HashMap<Digest, LayerView>>,
    /// Whether nobody wants to know any more.
    closed: AtomicBool,
}

/// Where an image may have a bundle.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lead {
    /// Attached to it.
    Attached(Descriptor),
    /// In this folder, as its label says.
    Labelled(Folder),
    /// If anywhere, where it is by custom. The image may have a layer that nobody can look into.
    Unknown { encrypted: Option<Descriptor> },
    /// Nowhere: this is no container image.
    Nowhere,
}

/// Looks where there is a bundle, without reading any layer.
pub(super) async fn lead(origin: &Origin<'_>) -> Result<Lead> {
    match attached(origin).await? {
        Some(attached) => Ok(Lead::Attached(attached)),
        None => inside(origin).await,
    }
}

/// The folder that the manifest names, as far as that is known without asking for more.
pub(super) fn annotated<'a>(origin: &Origin<'a>) -> Option<&'a str> {
    origin.annotations()?.get(LABEL).map(String::as_str)
}

/// What the image says of where in its layers the bundle is.
pub(super) async fn inside(origin: &Origin<'_>) -> Result<Lead> {
    if let Some(path) = annotated(origin) {
        return labelled(path);
    }
    let first = container_image(origin).await?;
    let Some(image) = first.as_ref().and_then(Manifest::as_image) else { return Ok(Lead::Nowhere) };
    match origin.config(&image.config).await?.config.labels.get(LABEL) {
        Some(path) => labelled(path),
        None => Ok(unlabelled(image)),
    }
}

/// The same, as far as it is known without reading a config: one without a label may have it.
pub(super) async fn without_label(origin: &Origin<'_>) -> Result<Lead> {
    let first = container_image(origin).await?;
    Ok(first.as_ref().and_then(Manifest::as_image).map_or(Lead::Nowhere, unlabelled))
}

fn labelled(path: &str) -> Result<Lead> {
    Folder::parse(path).map(Lead::Labelled).map_err(|error| error.on(Side::Source))
}

fn unlabelled(image: &ImageManifest) -> Lead {
    Lead::Unknown { encrypted: encrypted_layer(image).cloned() }
}

/// The first container image of what is pushed, if there is one.
async fn container_image(origin: &Origin<'_>) -> Result<Option<Manifest>> {
    let first = origin.first_image().await?;
    if is_container_image(&first) {
        return Ok(Some(first));
    }
    // An index may list artifacts before its images.
    Ok(origin.images().await?.into_iter().find(is_container_image))
}

/// The newest bundle that is attached to the image.
pub(super) async fn attached(origin: &Origin<'_>) -> Result<Option<Descriptor>> {
    for digest in origin.digests()? {
        let listed = match origin.attachments(&digest, &ARTIFACT_TYPE).await {
            Ok(listed) => listed,
            // A place without attachments has none.
            Err(error) if error.kind() == Kind::TransportUnsupported => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(newest) = newest(&listed) {
            return Ok(Some(newest.clone()));
        }
    }
    Ok(None)
}

/// The same by one question for each digest that the image is known by: a place that takes more is not asked further.
pub(super) async fn attached_at_once(origin: &Origin<'_>) -> Result<Option<Descriptor>> {
    for digest in origin.digests()? {
        match origin.attachments_at_once(&digest, &ARTIFACT_TYPE).await? {
            None => return Ok(None),
            Some(listed) => {
                if let Some(newest) = newest(&listed) {
                    return Ok(Some(newest.clone()));
                }
            }
        }
    }
    Ok(None)
}

/// Reads a bundle that is attached.
pub(super) async fn read_attached(origin: &Origin<'_>, listed: &Descriptor) -> Result<Bundle> {
    let doing = || format!("reading the bundle `{}`", listed.digest);
    let read = async {
        let manifest = origin.attachment(listed).await?;
        let layers = manifest.as_image().map(|image| image.layers.as_slice()).unwrap_or_default();
        let [layer] = layers else {
            let message = format!("it has {} layers instead of one", layers.len());
            return Err(Error::new(Kind::InvalidImage, message));
        };
        let yaml = origin.small_blob(layer, MAX_BUNDLE).await?;
        Bundle::parse(&yaml)
    };
    read.await.map_err(|error| unsound(error.doing(doing()).on(Side::Source)))
}

/// Reads the bundle in the layers; none if there is nothing in the folder. Those of several images must be the same, though
/// each may name a folder of its own. `views` are of the given one.
pub(super) async fn read_layers(
    origin: &Origin<'_>,
    folder: &Folder,
    views: &Views,
) -> Result<Option<Bundle>> {
    merged(origin, folder, views).await.map_err(unsound)
}

async fn merged(origin: &Origin<'_>, folder: &Folder, views: &Views) -> Result<Option<Bundle>> {
    let (mut images_seen, mut readings) = (HashSet::new(), Readings::new());
    let mut views = HashMap::from([(folder.clone(), views.clone())]);
    let images = images(origin).await?;
    let alone = images.len() == 1;
    for image in images {
        if !images_seen.insert(image.digest().clone()) {
            continue;
        }
        let own = if alone { None } else { own_folder(origin, &image).await? };
        let folder = own.unwrap_or_else(|| folder.clone());
        let views = views.entry(folder.clone()).or_default();
        let merge = merge_image(origin, &image, views, &folder).await?;
        let read = aside(move || readings.and(merge, image.digest(), &folder)).await?;
        readings = read.map_err(|error| error.on(Side::Source))?;
    }
    Ok(readings.into_bundle())
}

/// The folder that an image of an index names by its own label. What the manifest that was asked for says holds for all.
async fn own_folder(origin: &Origin<'_>, manifest: &Manifest) -> Result<Option<Folder>> {
    let Some(image) = manifest.as_image().filter(|_| annotated(origin).is_none()) else {
        return Ok(None);
    };
    let config = origin.config(&image.config).await?;
    let path = config.config.labels.get(LABEL);
    path.map(|path| Folder::parse(path)).transpose().map_err(|error| error.on(Side::Source))
}

fn is_container_image(manifest: &Manifest) -> bool {
    manifest.as_image().is_some_and(ImageManifest::is_container_image)
}

/// The container images of what is pushed. Attestations, which indexes list like images, have no file system.
pub(super) async fn images(origin: &Origin<'_>) -> Result<Vec<Manifest>> {
    let has_files = |manifest: &Manifest| {
        let image = manifest.as_image().filter(|image| image.is_container_image());
        image.is_some_and(|image| {
            image.layers.is_empty()
                || image.layers.iter().any(|layer| is_layer(layer) || is_encrypted(layer))
        })
    };
    let mut images = origin.images().await?;
    images.retain(has_files);
    Ok(images)
}

async fn merge_image(
    origin: &Origin<'_>,
    manifest: &Manifest,
    views: &Views,
    folder: &Folder,
) -> Result<Merge> {
    let layers = manifest.as_image().map(|image| image.layers.as_slice()).unwrap_or_default();
    let mut merge = Merge::default();
    for layer in layers.iter().rev().filter(|layer| layer.size > 0) {
        if merge.is_complete() {
            break;
        }
        let view = view(origin, layer, folder, views).await?;
        merge.below(&view).map_err(|error| in_layer(&layer.digest, error))?;
    }
    Ok(merge)
}

async fn view(
    origin: &Origin<'_>,
    layer: &Descriptor,
    folder: &Folder,
    views: &Views,
) -> Result<LayerView> {
    if let Some(view) = views.get(&layer.digest) {
        return Ok(view);
    }
    if is_encrypted(layer) {
        return Err(encrypted(layer));
    }
    if !is_layer(layer) {
        let kind = layer.media_type.as_str().escape_default();
        return Ok(LayerView::unreadable(format!("it has the unknown type `{kind}`")));
    }
    origin.layer(layer, || views.looking(layer, folder)).await?;
    views.get(&layer.digest).ok_or_else(|| Error::internal("a layer was read and not seen"))
}

/// What is asked for is a bundle, and the image carries none that anybody could use: no fault of the image as such.
fn unsound(error: Error) -> Error {
    let of_source = error.side() == Some(Side::Source);
    match error.kind() {
        Kind::InvalidImage | Kind::LimitExceeded if of_source => {
            error.of_kind(Kind::CustomResourcesInvalid)
        }
        _ => error,
    }
}

fn in_layer(layer: &Digest, error: Error) -> Error {
    error.doing(format!("looking for the bundle in layer `{layer}`")).on(Side::Source)
}

/// A layer whose type is known.
pub(super) fn is_layer(layer: &Descriptor) -> bool {
    layer.media_type.layer_compression().is_some()
}

/// The first layer of an image that nobody can look into without a key.
fn encrypted_layer(image: &ImageManifest) -> Option<&Descriptor> {
    image.layers.iter().find(|layer| is_encrypted(layer))
}

fn is_encrypted(layer: &Descriptor) -> bool {
    layer.media_type.as_str().ends_with(ENCRYPTED)
}

/// The error of an image without a bundle.
pub(super) fn no_bundle(folder: &Folder) -> Error {
    let folder = folder.as_str();
    let message = format!(
        "the image carries no custom resources: nothing is attached to it, and its folder `{folder}` has none"
    );
    Error::new(Kind::CustomResourcesNotFound, message).on(Side::Source)
}

/// The error of a layer that can't be looked into.
pub(super) fn encrypted(layer: &Descriptor) -> Error {
    let message =
        format!("layer `{}` is encrypted, so that no bundle can be found in it", layer.digest);
    Error::new(Kind::CustomResourcesInvalid, message).on(Side::Source).hint(
        "attach the bundle to the image, or push without one (`--cr-option no`, `policy: Never`)",
    )
}

// === impl Views ===

impl Views {
    /// What a layer says, if it has been seen.
    pub(super) fn get(&self, layer: &Digest) -> Option<LayerView> {
        self.lock().get(layer).cloned()
    }

    /// Whether any layer has been seen.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Forgets what has been seen: it was looked for in another folder.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Whether a layer that has been seen says anything of the folder.
    pub(super) fn touch(&self) -> bool {
        self.lock().values().any(|view| view.touches() && view.fault().is_none())
    }

    /// The error of a layer that has been seen and can't be understood.
    pub(super) fn fault(&self) -> Option<Error> {
        let views = self.lock();
        let mut faults = views.iter().filter_map(|(layer, view)| Some((layer, view.fault()?)));
        let (layer, fault) = faults.next()?;
        Some(in_layer(layer, Error::new(Kind::CustomResourcesInvalid, fault)))
    }

    /// Who looks at a layer that passes, or is read for that.
    pub(super) fn looking(&self, layer: &Descriptor, folder: &Folder) -> Box<dyn LayerObserver> {
        let (views, layer) = (self.clone(), layer.digest.clone());
        Box::new(Looking { views, layer, reader: LayerReader::new(folder.clone()) })
    }

    /// Nobody wants to know more: layers that are on their way are looked at no further.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }

    fn put(&self, layer: Digest, view: LayerView) {
        let mut views = self.lock();
        let size: usize = views.values().map(LayerView::size).sum();
        let view = if size + view.size() > MAX_BUNDLE_VIEWS {
            LayerView::unreadable(format!(
                "the layers of all images have more than {MAX_BUNDLE_VIEWS} bytes in the folder"
            ))
        } else {
            view
        };
        views.insert(layer, view);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, LayerView>> {
        self.0.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at a layer as it passes.
struct Looking {
    views: Views,
    layer: Digest,
    reader: LayerReader,
}

impl LayerObserver for Looking {
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.reader.feed(bytes);
        !self.reader.is_done() && !self.views.is_closed()
    }

    fn end(self: Box<Self>, fault: Option<String>) {
        let Self { views, layer, reader } = *self;
        match fault {
            _ if views.is_closed() => {}
            Some(fault) => views.put(layer, LayerView::unreadable(fault)),
            None => views.put(layer, reader.finish()),
        }
    }
}
