//! Several processes that put bundles beside the same images at once, in a registry that keeps no lists: there the list is a
//! tag, which has no compare-and-swap.

use std::process::{Child, Command, Stdio};

use imagepush::access::{Access, TlsPolicy, install_crypto_provider};
use imagepush::bundle::{ARTIFACT_TYPE, Bundle};
use imagepush::image::Descriptor;
use imagepush::options::CustomResources::{Never, Only};
use imagepush::transport;

use super::harness::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{Content, Form, layer};

/// How many processes write beside each image.
const WRITERS: usize = 4;

fn start(from: &str, to: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imagepush"));
    command.args(["push", "--quiet", "--tls-verify=false", "--cr-option=only", from, to]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What is attached to an image, of this product's kind and of others.
async fn attached(name: &str) -> (Vec<Descriptor>, usize) {
    install_crypto_provider();
    let access = Access { tls: TlsPolicy::PlainHttp, ..Access::default() };
    let destination = transport::parse(name).unwrap().destination(&access).await.unwrap();
    let subject = destination.current().await.unwrap().unwrap().digest;
    let all = destination.attachments(&subject, None).await.unwrap();
    let ours = destination.attachments(&subject, Some(&ARTIFACT_TYPE)).await.unwrap();
    let others = all.len() - ours.len();
    (ours, others)
}

fn holds(entry: &Descriptor, bundle: &str) -> bool {
    let digest = Bundle::parse(thing(bundle).as_bytes()).unwrap().digest().to_string();
    entry.annotations["imagepush.dev/bundle.digest"] == digest
}

#[tokio::test]
async fn writers_at_once_converge_and_what_is_lost_comes_back() {
    let registry = DockerRegistry::plain();
    let folder = tempfile::tempdir().unwrap();
    let hosts = [registry.host.as_str()];
    let file = folder.path().join("other");
    std::fs::write(&file, "somebody else's").unwrap();
    // Two images in one repository; somebody else has attached something to each.
    let names = [1, 2].map(|tag| format!("{}/team/app:{tag}", registry.host));
    for (seed, name) in (1..).zip(&names) {
        let image = Content::image("linux", "amd64", &[layer(seed, 300, Form::Gzip)]);
        let from = layout(folder.path(), &format!("image-{seed}"), &image);
        run(&from, &format!("docker://{name}"), Never).await.unwrap();
        let file = file.to_str().unwrap();
        let kind = "application/vnd.example.other";
        regctl(
            &["artifact", "put", "--subject", name, "--artifact-type", kind, "--file", file],
            &hosts,
        );
    }
    let sources: Vec<String> = (0..WRITERS)
        .map(|at| {
            let bundle = format!("bundle-{at}");
            layout(folder.path(), &bundle, &image_with(&thing(&bundle)))
        })
        .collect();
    let writers: Vec<Child> = names
        .iter()
        .flat_map(|name| sources.iter().map(move |from| start(from, &format!("docker://{name}"))))
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for name in &names {
        let to = format!("docker://{name}");
        let (ours, others) = attached(&to).await;
        // Whoever was last, a reader finds a bundle of one of them, and nobody else's is lost.
        assert!((1..=WRITERS).contains(&ours.len()), "{ours:#?}");
        assert_eq!(others, 1, "{name}");
        // The next writer finds its own there, or puts it there.
        run(&sources[0], &to, Only).await.unwrap();
        assert_eq!(decisions(&sources[0], &to, Only).await, ("left", "unchanged".to_owned()));
        // The one after that takes off whatever is left of the others.
        assert_eq!(decisions(&sources[1], &to, Only).await, ("left", "pushed".to_owned()));
        assert_eq!(decisions(&sources[1], &to, Only).await, ("left", "unchanged".to_owned()));
        let (ours, others) = attached(&to).await;
        assert_eq!((ours.len(), others), (1, 1), "{name}: {ours:#?}");
        assert!(holds(&ours[0], "bundle-1"), "{name}: {ours:#?}");
    }
    lost_entries_come_back(&registry, &names[0], &sources[1]).await;
}

/// Somebody who knows less of the list has written it over.
async fn lost_entries_come_back(registry: &DockerRegistry, name: &str, from: &str) {
    let to = format!("docker://{name}");
    let subject = run(from, &to, Only).await.unwrap().digest.to_string();
    let list =
        format!("http://{}/v2/team/app/manifests/{}", registry.host, subject.replace(':', "-"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let put = client.put(&list).header("content-type", kind).body(index).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    assert_eq!(attached(&to).await.0, []);
    assert_eq!(decisions(from, &to, Only).await, ("left", "pushed".to_owned()));
    let (ours, _) = attached(&to).await;
    assert!(ours.len() == 1 && holds(&ours[0], "bundle-1"), "{ours:#?}");
}
