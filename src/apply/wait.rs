//! Waits until applied objects work.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use kube::Api;
use kube::api::DynamicObject;
use tokio::time::{Instant, sleep};

use super::client::Impersonated;
use super::compare::Compared;
use super::refusal::{self, some_of};
use super::standing::{Standing, standing};
use crate::error::{Error, Kind, Result};
use crate::limits::{APPLY_WIDTH, STANDING_POLL};

/// Waits until all objects are current; fails at once if one says that it has failed, and when patience ends.
pub(super) async fn until_current(
    who: &Impersonated,
    objects: &[Compared],
    patience: Duration,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    let mut awaited: Vec<&Compared> = objects.iter().collect();
    loop {
        let mut unfinished = Vec::new();
        let looks: Vec<_> =
            awaited.into_iter().map(|object| look_at(who, object).boxed()).collect();
        let mut looks = stream::iter(looks).buffered(APPLY_WIDTH);
        while let Some((object, found)) = looks.next().await {
            match found? {
                Standing::Current => {}
                Standing::InProgress(how) => unfinished.push((object, how)),
                Standing::Failed(reason) => return Err(failed(object, &reason)),
            }
        }
        if unfinished.is_empty() {
            return Ok(());
        }
        if Instant::now() + STANDING_POLL > deadline {
            return Err(late(&unfinished, patience));
        }
        sleep(STANDING_POLL).await;
        awaited = unfinished.into_iter().map(|(object, _)| object).collect();
    }
}

async fn look_at<'a>(who: &Impersonated, object: &'a Compared) -> (&'a Compared, Result<Standing>) {
    (object, look(who, object).await)
}

async fn look(who: &Impersonated, object: &Compared) -> Result<Standing> {
    let (client, namespace) = (who.client().clone(), who.account().namespace());
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &object.planned.resource);
    let key = &object.planned.key;
    let found = api
        .get_opt(&key.name)
        .await
        .map_err(|cause| refusal::of_object("get", &cause).doing(format!("waiting for `{key}`")))?;
    let Some(found) = found else { return Ok(Standing::InProgress("it is gone")) };
    let value = serde_json::to_value(found);
    Ok(value.map_or(Standing::InProgress("it can't be read"), |value| standing(&value)))
}

fn failed(object: &Compared, reason: &str) -> Error {
    let message =
        format!("`{}` was applied and says that it has stalled: {reason}", object.planned.key);
    Error::new(Kind::CustomResourcesPending, message).hint("look at the conditions of that object")
}

fn late(unfinished: &[(&Compared, &'static str)], patience: Duration) -> Error {
    let told: Vec<String> =
        unfinished.iter().map(|(object, how)| format!("`{}`: {how}", object.planned.key)).collect();
    let message = format!(
        "what was applied does not work after {} s: {}",
        patience.as_secs(),
        some_of(&told, "; ")
    );
    Error::new(Kind::CustomResourcesPending, message)
        .hint("look at these objects, or raise `customResources.apply.timeout`")
}
