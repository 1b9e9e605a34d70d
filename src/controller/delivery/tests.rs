//! What one attempt does, with an engine that finds and does what a test wants.

use std::sync::Mutex;

use OverwritePolicy::{FailOnDrift, IfNotPresent, Replace};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::controller::executor::tests::order_between;
use crate::engine::{NoProgress, Preview, Pushed};

fn digest(name: &str) -> Option<Digest> {
    (!name.is_empty()).then(|| Digest::of(name.as_bytes()))
}

/// What was known of both ends, what they have now, and what follows under each policy.
#[test]
fn what_follows_from_what_is_there() {
    use Course::{Compare, Leave, Push};
    for ((known, now), courses) in [
        // Nothing is known.
        ((["", ""], ["s", ""]), [Push, Push, Push]),
        ((["", ""], ["s", "d"]), [Push, Compare, Push]),
        // Another push, or another destination, was recorded.
        ((["", "d"], ["s", "d"]), [Push, Compare, Push]),
        ((["s", ""], ["s", "d"]), [Push, Compare, Push]),
        // All is as it was.
        ((["s", "d"], ["s", "d"]), [Leave, Leave, Leave]),
        // The source moved; it is gone.
        ((["s", "d"], ["t", "d"]), [Push, Leave, Push]),
        ((["s", "d"], ["", "d"]), [Push, Leave, Push]),
        // The destination was deleted; it was changed.
        ((["s", "d"], ["s", ""]), [Push, Push, Push]),
        ((["s", "d"], ["s", "e"]), [Push, Compare, Compare]),
    ] {
        let known = Known { source: digest(known[0]), destination: digest(known[1]) };
        let standing = Standing { source: digest(now[0]), destination: digest(now[1]) };
        let found = [Replace, IfNotPresent, FailOnDrift].map(|it| course(it, &known, &standing));
        assert_eq!(found, courses, "{known:?} {standing:?}");
    }
}

/// Whatever ended an attempt, the next one knows that a bundle may have been left over.
#[test]
fn what_an_attempt_may_have_left_over_is_known() {
    let digest = Digest::of(b"image").to_string();
    let source = || json!({"source": {"digest": digest, "mediaType": "m", "reference": "docker://s.example/x:1"}});
    let artifact = || json!({"artifact": {"digest": digest, "mediaType": "m", "reference": "docker://r.example/x:1"}});
    let with = |parts: &[Value]| {
        let fields = parts.iter().flat_map(|part| part.as_object().cloned().unwrap_or_default());
        Value::Object(fields.collect())
    };
    let condition = |kind: &str, status: &str| {
        let moment = "2026-01-01T00:00:00Z";
        json!({"type": kind, "status": status, "reason": "X", "message": "", "lastTransitionTime": moment})
    };
    let conditions = |list: &[Value]| json!({"conditions": list});
    let decided = |decision: &str| json!({"customResources": {"decision": decision}});
    let done = || conditions(&[condition("Ready", "True")]);
    for (status, expected, why) in [
        (with(&[]), false, "nothing was begun"),
        (with(&[source(), artifact(), done(), decided("pushed")]), false, "it is done"),
        (with(&[source(), artifact(), done(), decided("notSearched")]), false, "it is done"),
        (with(&[source(), artifact(), done(), decided("failed")]), true, "it failed at the bundle"),
        (with(&[conditions(&[condition("Reconciling", "True")])]), true, "killed in the first one"),
        (
            with(&[conditions(&[condition("Ready", "False"), condition("Reconciling", "True")])]),
            true,
            "killed in another one, or out of time",
        ),
        (
            with(&[
                source(),
                artifact(),
                conditions(&[condition("Ready", "False"), condition("Reconciling", "True")]),
            ]),
            false,
            "a registry was away for a moment",
        ),
        (with(&[artifact(), done()]), true, "the name was changed in a check, and then ended"),
        (
            with(&[artifact(), conditions(&[condition("Ready", "Unknown")])]),
            true,
            "the name was changed, and then it was suspended",
        ),
        (with(&[conditions(&[condition("Stalled", "True")])]), false, "nothing was pushed"),
    ] {
        let spec = json!({
            "source": {"reference": "docker://s.example/x:1"},
            "destination": {"reference": "docker://r.example/x:1"},
            "customResources": {"policy": "Auto"},
        });
        let mut object = ImagePush::new("x", serde_json::from_value(spec).unwrap());
        object.status = Some(serde_json::from_value(status.clone()).unwrap());
        let finished: Option<Digest> = status.get("source").map(|_| digest.parse().unwrap());
        let known = Known { source: finished.clone(), destination: None };
        let found = clues(&object, &known);
        assert_eq!(found.left_over, expected, "{why}: {status}");
        // Of another push than this one status tells nothing.
        let reconciling = status.to_string().contains("Reconciling");
        assert_eq!(clues(&object, &Known::default()).left_over, expected || reconciling, "{why}");
        assert_eq!(found.finished, finished, "{why}");
    }
}

/// The destination's name has the first of these when it is looked at, and the other one when the push is about to change it.
struct Changing(Mutex<Vec<Option<Digest>>>);

#[async_trait]
impl Engine for Changing {
    async fn push(
        &self,
        options: &PushOptions,
        _: &Arc<dyn Progress>,
        _: &Wanted,
    ) -> Result<Pushed> {
        self.0.lock().unwrap().remove(0);
        let there = self.0.lock().unwrap()[0].clone();
        let kind = match &options.overwrites {
            Some(expected) if !expected.matches(there.as_ref()) => Kind::DestinationExists,
            _ => Kind::InternalError,
        };
        Err(Error::new(kind, if kind == Kind::InternalError { "overwritten" } else { "kept" }))
    }

    async fn preview(&self, _: &PushOptions, _: &CancellationToken) -> Result<Preview> {
        Err(Error::new(Kind::InternalError, "nobody asks"))
    }

    async fn standing(&self, _: &PushOptions, _: &CancellationToken) -> Result<Standing> {
        Ok(Standing { source: digest("s"), destination: self.0.lock().unwrap()[0].clone() })
    }
}

#[tokio::test]
async fn what_somebody_puts_there_in_the_middle_of_a_push_stays() {
    let theirs = Digest::of(b"theirs").to_string();
    let exists =
        format!("`docker://r.example/x:1` holds {theirs}, which is not what would be pushed");
    let drifted =
        format!("`docker://r.example/x:1` holds {theirs}, which was not pushed from here");
    let gone = "kept".to_owned();
    let overwritten = "overwritten".to_owned();
    for (overwrite, known, before, meanwhile, expected) in [
        (IfNotPresent, "", "", "theirs", &exists),
        (IfNotPresent, "", "", "", &overwritten),
        (FailOnDrift, "ours", "ours", "theirs", &drifted),
        (FailOnDrift, "ours", "", "theirs", &drifted),
        (FailOnDrift, "ours", "ours", "", &gone),
        (FailOnDrift, "ours", "ours", "ours", &overwritten),
        // What is there at first is overwritten, whatever it is.
        (FailOnDrift, "", "old", "theirs", &overwritten),
        (Replace, "ours", "ours", "theirs", &overwritten),
    ] {
        let known = Known { source: digest("old"), destination: digest(known) };
        let delivery = Delivery { overwrite, known, ..Delivery::default() };
        let engine = Changing(Mutex::new(vec![digest(before), digest(meanwhile)]));
        let options = order_between("a", ("from.example", "r.example")).options;
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        let wanted = Wanted::until_cancelled(&CancellationToken::new());
        let ended = deliver(&engine, &options, &delivery, &progress, &wanted).await;
        let told = match ended {
            Ok(Outcome::Failed(failure)) => failure.message,
            Err(error) => error.to_string(),
            ended => panic!("{ended:?}"),
        };
        assert!(told.starts_with(expected), "{overwrite:?}: {told}, not {expected}");
    }
}

/// What an engine was asked to foresee.
struct Foreseeing(Mutex<Vec<CustomResources>>);

#[async_trait]
impl Engine for Foreseeing {
    async fn push(&self, _: &PushOptions, _: &Arc<dyn Progress>, _: &Wanted) -> Result<Pushed> {
        Err(Error::new(Kind::InternalError, "nothing is pushed"))
    }

    async fn preview(&self, options: &PushOptions, _: &CancellationToken) -> Result<Preview> {
        self.0.lock().unwrap().push(options.custom_resources);
        Err(Error::new(Kind::InternalError, "foreseen"))
    }

    async fn standing(&self, _: &PushOptions, _: &CancellationToken) -> Result<Standing> {
        Ok(Standing { source: digest("s"), destination: digest("theirs") })
    }
}

/// It is looked at anew at each interval, until somebody mends the destination: no layer is read for that.
#[tokio::test]
async fn what_has_drifted_is_compared_without_its_bundle() {
    for overwrite in [FailOnDrift, IfNotPresent] {
        let engine = Foreseeing(Mutex::default());
        let known = Known { source: digest("s"), destination: digest("ours") };
        let delivery = Delivery { overwrite, known, ..Delivery::default() };
        let options = order_between("a", ("from.example", "r.example")).options;
        let options = PushOptions { custom_resources: CustomResources::Always, ..options };
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        let wanted = Wanted::until_cancelled(&CancellationToken::new());
        let error = deliver(&engine, &options, &delivery, &progress, &wanted).await.unwrap_err();
        assert_eq!(error.to_string(), "foreseen");
        assert_eq!(*engine.0.lock().unwrap(), [CustomResources::Never], "{overwrite:?}");
    }
}
