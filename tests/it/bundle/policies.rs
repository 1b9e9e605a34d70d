//! Bundles under the other choices of a push: dry runs, and what may be overwritten.

use std::path::Path;
use std::process::Command;

use imagepush::bundle;
use imagepush::options::CustomResources::{self, Always, Auto, Never, Only};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::harness::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{Content, Form, layer};

/// What a dry run says would be done for the image, and about its bundle.
async fn foreseen(from: &str, to: &str, policy: CustomResources) -> Result<(bool, String), String> {
    let options = options(from, to, policy);
    let preview = Box::pin(bundle::preview(&options, &CancellationToken::new())).await;
    let preview = preview.map_err(|error| error.to_string())?;
    Ok((preview.already_present, preview.beside.map_or("none".into(), |it| decision(&it))))
}

/// A dry run and the push that follows decide the same, and the dry run writes nothing.
#[tokio::test]
async fn a_dry_run_foresees_what_a_push_does() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let plain = layout(folder.path(), "plain", &image_with(&thing("a")));
    let labelled = layout(folder.path(), "labelled", &labelled(&thing("a")));
    let none = Content::image("linux", "amd64", &[layer(1, 300, Form::Gzip)]);
    let none = layout(folder.path(), "none", &none);
    let broken = layout(folder.path(), "broken", &image_with("a: ["));
    for (n, (from, policy, first, second)) in [
        (&plain, Never, Ok("none"), Ok("none")),
        (&plain, Always, Ok("push"), Ok("unchanged")),
        // No layer is read only to look.
        (&plain, Auto, Ok("notSearched"), Ok("notSearched")),
        (&labelled, Auto, Ok("push"), Ok("unchanged")),
        (&labelled, Always, Ok("push"), Ok("unchanged")),
        (
            &none,
            Always,
            Err("its folder `metadata` has none"),
            Err("its folder `metadata` has none"),
        ),
        (&broken, Always, Err("reading `config.yaml`: line "), Err("reading `config.yaml`: line ")),
        (&plain, Only, Err("is not there, so that nothing can be put beside it"), Ok("unchanged")),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("docker://{}/team/app{n}:1", registry.host);
        for (there, expected) in [(false, first), (true, second)] {
            let before = registry.requests().len();
            let found = foreseen(from, &to, policy).await;
            let requests = registry.requests().split_off(before);
            assert!(
                requests.iter().all(|it| ["GET", "HEAD"].contains(&it.method.as_str())),
                "{n}: {requests:#?}"
            );
            match expected {
                Ok(bundle) => assert_eq!(found, Ok((there, bundle.to_owned())), "{n} {policy:?}"),
                Err(fault) => {
                    assert!(found.as_ref().unwrap_err().contains(fault), "{n}: {found:?}");
                }
            }
            if !there {
                let policy = if policy == Only { Always } else { policy };
                let pushed = run(from, &to, policy).await;
                assert_eq!(pushed.is_ok(), first.is_ok() || policy == Always && second.is_ok());
            }
        }
    }
}

/// Runs an ImagePush as `imagepush apply` does: the exit code, and the status that it prints.
fn applied(folder: &Path, spec: &Value) -> (Option<i32>, Value) {
    let object = json!({
        "apiVersion": "imagepush.dev/v1alpha1", "kind": "ImagePush", "metadata": {"name": "a"}, "spec": spec,
    });
    let file = folder.join("push.yaml");
    std::fs::write(&file, object.to_string()).unwrap();
    let arguments = ["apply", "-q", "--output", "json", "-f", file.to_str().unwrap()];
    let output = Command::new(env!("CARGO_BIN_EXE_imagepush")).args(arguments).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), list["items"][0]["status"].clone())
}

/// What may not be overwritten is the image: its bundle is completed beside it, and never put beside another.
#[tokio::test]
async fn a_bundle_goes_beside_what_may_not_be_overwritten() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "a", &labelled(&thing("a")));
    let other = Content::image("linux", "amd64", &[layer(8, 300, Form::Gzip)]);
    let other = layout(folder.path(), "other", &other);
    for overwrite in ["IfNotPresent", "FailOnDrift", "Replace"] {
        let name = format!("{}/team/{}:1", registry.host, overwrite.to_lowercase());
        let (to, hosts) = (format!("docker://{name}"), [registry.host.as_str()]);
        let spec = |from: &str| {
            json!({
                "runPolicy": "Once", "retry": {"limit": 0}, "overwritePolicy": overwrite,
                "source": {"reference": from}, "customResources": {"policy": "Auto"},
                "destination": {"reference": to, "tlsPolicy": "PlainHTTP"},
            })
        };
        run(&from, &to, Never).await.unwrap();
        let (code, status) = applied(folder.path(), &spec(&from));
        assert_eq!(
            (code, &status["customResources"]["decision"]),
            (Some(0), &json!("pushed")),
            "{status:#}"
        );
        assert_eq!(got(&name, &hosts), canonical("a"), "{overwrite}");

        run(&other, &to, Never).await.unwrap();
        let (code, _) = applied(folder.path(), &spec(&from));
        // Without a record of a push nothing has drifted.
        let refused = overwrite == "IfNotPresent";
        assert_eq!(code != Some(0), refused, "{overwrite}");
        assert_eq!(listed(&name, &hosts).len(), usize::from(!refused), "{overwrite}");
    }
}
