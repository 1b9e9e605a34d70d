//! Pushes an image with its bundle, as the policy says, and shows the bundle of an image.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::companion::Carrier;
use super::search::{self, Lead, Views};
use super::{Bundle, Folder};
use crate::engine::{self, Preview, Progress, Pushed, Wanted};
use crate::error::{Error, Result};
use crate::options::{CustomResources, Endpoint, Platforms, PushOptions, Retry};

/// The next step where the folder that was looked into has nothing.
const ANOTHER_FOLDER: &str = "another folder is named by the image's label `imagepush.dev/bundle`";

/// Pushes an image, its bundle, or both, as the policy says.
pub async fn push(
    options: &PushOptions,
    progress: &Arc<dyn Progress>,
    wanted: impl Into<Wanted>,
) -> Result<Pushed> {
    let carrier = Carrier::new(options, Timestamp::now());
    match options.custom_resources {
        CustomResources::Never => engine::push(options, progress, wanted).await,
        CustomResources::Only => engine::accompany(options, &carrier, progress, wanted).await,
        CustomResources::Always | CustomResources::Auto => {
            engine::push_with(options, &carrier, progress, wanted).await
        }
    }
}

/// Tells what [`push`] would do. Writes nothing.
pub async fn preview(options: &PushOptions, cancel: &CancellationToken) -> Result<Preview> {
    let carrier = Carrier::new(options, Timestamp::now());
    match options.custom_resources {
        CustomResources::Never => engine::preview(options, cancel).await,
        CustomResources::Only => engine::foresee(options, &carrier, cancel).await,
        CustomResources::Always | CustomResources::Auto => {
            engine::preview_with(options, &carrier, cancel).await
        }
    }
}

/// Reads the bundle of an image: attached to it, else in its layers. Fails with
/// `CustomResourcesNotFound` if there is none, and `CustomResourcesInvalid` if it isn't sound.
pub async fn read(
    endpoint: Endpoint,
    platforms: Platforms,
    retry: Retry,
    cancel: &CancellationToken,
) -> Result<Bundle> {
    let doing = format!("reading the bundle of `{}`", endpoint.reference);
    let read = async {
        let opened = engine::open(endpoint, platforms, retry, cancel).await?;
        let origin = opened.origin();
        let folder = match search::lead(&origin).await? {
            Lead::Attached(listed) => return search::read_attached(&origin, &listed).await,
            Lead::Labelled(folder) => folder,
            Lead::Unknown { .. } | Lead::Nowhere => Folder::default(),
        };
        let found = search::read_layers(&origin, &folder, &Views::default()).await?;
        found.ok_or_else(|| search::no_bundle(&folder).hint(ANOTHER_FOLDER))
    };
    let read = cancel.run_until_cancelled(read).await;
    read.unwrap_or_else(|| Err(Error::cancelled())).map_err(|error| error.during(doing))
}
