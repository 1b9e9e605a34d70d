//! A bundle is found in the layers of an image wherever that is.

use std::process::Command;

use imagepush::options::CustomResources::{Always, Auto, Never};

use super::harness::*;
use crate::support::docker_registry::{DockerRegistry, Program};

#[tokio::test]
async fn every_transport_has_its_bundle_found() {
    let (registry, other) = (DockerRegistry::of(Program::Referrers), DockerRegistry::plain());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let from = layout(folder.path(), "a", &image_with(&thing("a")));
    for (at, source) in [
        format!("oci:{path}/layout:1"),
        format!("oci-archive:{path}/layout.tar:1"),
        format!("dir:{path}/dir"),
        format!("docker-archive:{path}/docker.tar:example.com/app:1"),
        format!("docker://{}/team/app:1", other.host),
    ]
    .into_iter()
    .enumerate()
    {
        run(&from, &source, Never).await.unwrap();
        let mut show = Command::new(env!("CARGO_BIN_EXE_imagepush"));
        show.args(["bundle", "show", &source]);
        // Of files, there is nothing to verify.
        show.args(source.starts_with("docker://").then_some("--tls-verify=false"));
        let shown = show.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shown.stdout), canonical("a"), "{source}: {shown:?}");
        // Each to a repository of its own: what is there already doesn't move, and isn't looked into.
        let [always, auto] =
            ["always", "auto"].map(|to| format!("{}/{to}-{at}/app:1", registry.host));
        for (name, policy) in [(&always, Always), (&auto, Auto)] {
            let (_, bundle) = decisions(&source, &format!("docker://{name}"), policy).await;
            assert_eq!(bundle, "pushed", "{source} {policy:?}");
            assert_eq!(got(name, &[&registry.host]), canonical("a"), "{source} {policy:?}");
        }
    }
}
