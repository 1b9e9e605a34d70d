//! Waits until applied objects work.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use tokio::time::{Instant, sleep};

use super::client::Impersonated;
use super::refusal::{self, some_of};
use super::standing::{Standing, standing};
use crate::bundle::ObjectKey;
use crate::error::{Error, Kind, Result};
use crate::limits::{APPLY_WIDTH, STANDING_POLL};

/// An object that was stored, or was as it should be.
#[derive(Clone, Debug)]
pub struct Awaited {
    pub(super) key: ObjectKey,
    pub(super) resource: ApiResource,
}

/// Waits until all objects are current; fails at once if one says that it has failed, and when patience ends.
pub async fn until_current(
    who: &Impersonated,
    objects: &[Awaited],
    patience: Duration,
) -> Result<()> {
    let began = Instant::now();
    let mut awaited: Vec<&Awaited> = objects.iter().collect();
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
        let pause = pause(began.elapsed());
        if began.elapsed() + pause > patience {
            return Err(late(&unfinished, patience));
        }
        sleep(pause).await;
        awaited = unfinished.into_iter().map(|(object, _)| object).collect();
    }
}

/// Until the next look, after so much waiting: a tenth more.
fn pause(waited: Duration) -> Duration {
    let (first, longest) = STANDING_POLL;
    (waited / 10).clamp(first, longest)
}

async fn look_at<'a>(who: &Impersonated, object: &'a Awaited) -> (&'a Awaited, Result<Standing>) {
    (object, look(who, object).await)
}

async fn look(who: &Impersonated, object: &Awaited) -> Result<Standing> {
    let (client, namespace) = (who.client().clone(), who.account().namespace());
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &object.resource);
    let key = &object.key;
    let found = api
        .get_opt(&key.name)
        .await
        .map_err(|cause| refusal::of_object("get", &cause).doing(format!("waiting for `{key}`")))?;
    let Some(found) = found else { return Ok(Standing::InProgress("it is gone")) };
    let value = serde_json::to_value(found);
    Ok(value.map_or(Standing::InProgress("it can't be read"), |value| standing(&value)))
}

fn failed(object: &Awaited, reason: &str) -> Error {
    let message = format!("`{}` was applied and says that it has stalled: {reason}", object.key);
    Error::new(Kind::CustomResourcesPending, message).hint("look at the conditions of that object")
}

fn late(unfinished: &[(&Awaited, &'static str)], patience: Duration) -> Error {
    let told: Vec<String> =
        unfinished.iter().map(|(object, how)| format!("`{}`: {how}", object.key)).collect();
    let message = format!(
        "what was applied does not work after {} s: {}",
        patience.as_secs(),
        some_of(&told, "; ")
    );
    Error::new(Kind::CustomResourcesPending, message)
        .hint("look at these objects, or raise `customResources.apply.timeout`")
}
