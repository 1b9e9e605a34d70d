//! Objects that change again and again: who debounces them further on would put a look off for as long as that goes on.
//!
//! Changes pass at once, and an object that keeps changing for too long is held back for a moment, in which the look that is
//! due takes place. Whatever was held back comes after that, so that no change is lost.

use std::collections::HashMap;

use futures::{Stream, StreamExt as _};
use kube_runtime::reflector::ObjectRef;
use tokio::time::{Instant, sleep_until};

use crate::api::v1alpha1::ImagePush;
use crate::limits::{DEBOUNCE, MAX_DEBOUNCE};

/// Passes changes on so that no object has them closer together than [`DEBOUNCE`] for longer than [`MAX_DEBOUNCE`].
pub(crate) fn calmed<E: Send>(
    changes: impl Stream<Item = Result<ImagePush, E>> + Send,
) -> impl Stream<Item = Result<ImagePush, E>> + Send {
    let state = (Box::pin(changes), Calm::default());
    futures::stream::unfold(state, async |(mut changes, mut calm)| {
        loop {
            let passed = tokio::select! {
                object = calm.next_held() => Ok(object),
                change = changes.next() => match change? {
                    Ok(object) => match calm.judge(object, Instant::now()) {
                        Some(object) => Ok(object),
                        None => continue,
                    },
                    Err(error) => Err(error),
                },
            };
            return Some((passed, (changes, calm)));
        }
    })
}

#[derive(Default)]
struct Calm {
    /// Objects that changed lately.
    restless: HashMap<ObjectRef<ImagePush>, Restless>,
    /// How many of them there may be until those are forgotten that have come to rest.
    room: usize,
    /// How many changes are held back.
    held: usize,
}

struct Restless {
    /// When it began to change again and again.
    since: Instant,
    /// When the last change was passed on.
    passed: Instant,
    /// The latest change, if it is held back.
    held: Option<Box<ImagePush>>,
}

// === impl Restless ===

impl Restless {
    /// When what is held back may go on: what was passed before has had its look begun by then.
    fn due(&self) -> Instant {
        self.passed + DEBOUNCE * 2
    }
}

// === impl Calm ===

impl Calm {
    /// The change, unless it is held back.
    fn judge(&mut self, object: ImagePush, now: Instant) -> Option<ImagePush> {
        self.forget_calm(now);
        let fresh = || Restless { since: now, passed: now, held: None };
        let known = self.restless.entry(ObjectRef::from_obj(&object)).or_insert_with(fresh);
        if known.held.is_none() && now - known.passed >= DEBOUNCE {
            known.since = now;
        }
        if known.held.is_some() || now - known.since >= MAX_DEBOUNCE {
            let before = known.held.replace(Box::new(object));
            self.held += usize::from(before.is_none());
            return None;
        }
        known.passed = now;
        Some(object)
    }

    /// The next change that was held back and goes on, once it is due.
    async fn next_held(&mut self) -> ImagePush {
        if self.held == 0 {
            return std::future::pending().await;
        }
        let held = self.restless.iter().filter(|(_, it)| it.held.is_some());
        let next = held.map(|(key, it)| (key.clone(), it.due())).min_by_key(|(_, due)| *due);
        let Some((key, due)) = next else { return std::future::pending().await };
        sleep_until(due).await;
        let now = Instant::now();
        let held = self.restless.get_mut(&key).and_then(|known| {
            (known.since, known.passed) = (now, now);
            known.held.take()
        });
        match held {
            Some(object) => {
                self.held -= 1;
                *object
            }
            None => std::future::pending().await,
        }
    }

    /// Forgets those that have come to rest, once there are many.
    fn forget_calm(&mut self, now: Instant) {
        if self.restless.len() >= self.room.max(64) {
            self.restless.retain(|_, it| it.held.is_some() || now - it.passed < DEBOUNCE);
            self.room = 2 * self.restless.len();
        }
    }
}
