//! What events of a watch do to what is known of its objects.

use std::time::Duration;

use futures::channel::mpsc;
use serde_json::json;

use super::*;
use crate::api::v1alpha1::ImagePushStatus;
use crate::controller::claims::Claims;
use crate::controller::look::tests::{Server, context};

fn object(namespace: &str, name: &str, version: u64) -> ImagePush {
    let side = |name: &str| json!({"reference": format!("docker://r.example/{name}:1")});
    serde_json::from_value(json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("{namespace}/{name}"),
            "generation": 1, "resourceVersion": version.to_string()},
        "spec": {"source": side("a"), "destination": side("b"), "mode": "DryRun"},
    }))
    .unwrap()
}

type Account = Box<dyn FnMut(&Event<ImagePush>)>;

struct Watched {
    account: Account,
    woken: mpsc::Receiver<ObjectRef<ImagePush>>,
}

fn watched(context: &Arc<Context>) -> Watched {
    let (wake, woken) = mpsc::channel(1);
    let register = Register::new(Claims::new(1), wake);
    Watched { account: Box::new(keep_account(context.clone(), register)), woken }
}

impl Watched {
    fn list(&mut self, objects: &[ImagePush]) {
        (self.account)(&Event::Init);
        for object in objects {
            (self.account)(&Event::InitApply(object.clone()));
        }
        (self.account)(&Event::InitDone);
    }

    fn woken(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.woken.try_recv().ok()).map(|object| object.name).collect()
    }
}

/// Each namespace that is named has a watch of its own, and they share the metrics.
#[tokio::test]
async fn series_of_those_that_went_unseen_go_and_no_others() {
    let context = context(&Server::default());
    let (mut one, mut other) = (watched(&context), watched(&context));
    let [stays, goes] = ["stays", "goes"].map(|name| object("one", name, 1));
    one.list(&[stays.clone(), goes.clone()]);
    for object in [&stays, &goes] {
        context.metrics.object(object, &ImagePushStatus::default(), Duration::ZERO);
    }
    let has = |name: &str| {
        let text = context.metrics.text().unwrap();
        text.contains(&format!("imagepush_resource_info{{namespace=\"one\",name=\"{name}\""))
    };
    other.list(&[]);
    assert!(has("stays") && has("goes"), "another watch knows nothing of them");
    one.list(&[stays]);
    assert!(has("stays") && !has("goes"));
}

/// For the predicate, which compares generations, such an object has not changed.
#[tokio::test]
async fn what_comes_back_is_looked_at() {
    let context = context(&Server::default());
    let mut watched = watched(&context);
    let (first, second) = (object("n", "first", 5), object("n", "second", 6));
    watched.list(&[first.clone(), second.clone()]);
    assert_eq!(watched.woken(), [""; 0], "what is new is looked at anyway");
    // A list from a server that lagged behind lacked it; the next list, or an event, has it.
    watched.list(std::slice::from_ref(&second));
    watched.list(&[first.clone(), second.clone()]);
    assert_eq!(watched.woken(), ["first"]);
    watched.list(std::slice::from_ref(&second));
    (watched.account)(&Event::Apply(first.clone()));
    assert_eq!(watched.woken(), ["first"]);
    // The server was set back to a backup.
    let written = Some((ImagePushStatus::default(), Some("7".to_owned())));
    context.attempts.recall("n/second");
    context.attempts.update("n/second", |memory| memory.written = written);
    watched.list(&[first.clone(), object("n", "second", 3)]);
    assert_eq!(watched.woken(), ["second"]);
    assert_eq!(context.attempts.recall("n/second").written, None);
    // A version that goes on says nothing.
    watched.list(&[first, object("n", "second", 4)]);
    assert_eq!(watched.woken(), [""; 0]);
}
