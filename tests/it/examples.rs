//! The objects that users are shown: each is accepted as it stands, and none is overlooked.

use serde_json::{Value, json};

use crate::support::chart::{CHART, REPOSITORY, documents, find, tool};
use crate::support::control_plane::control_plane;

/// Where there are objects in YAML, and of what kinds, in their order.
const EXAMPLES: [(&str, &[&str]); 5] = [
    ("README.md", &["ImagePush"]),
    ("docs/bundles.md", &["ImagePush", "ServiceAccount", "Role"]),
    ("docs/gitops.md", &["Kustomization", "Kustomization", "ImagePush"]),
    ("docs/imagepush.md", &["ImagePush", "ImagePush", "ImagePush"]),
    ("docs/operations.md", &["Kustomization"]),
];

/// What is no part of a cluster's API without other programs: kustomize's own, which is tried below, and Flux's.
const OF_OTHERS: [&str; 2] = ["kustomize.config.k8s.io/v1beta1", "kustomize.toolkit.fluxcd.io/v1"];

fn read(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// Every page that users read, but for the lists of faults and changes.
fn pages() -> Vec<String> {
    let docs = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages = docs.map(|path| format!("docs/{}", path.file_name().unwrap().display()));
    let mut pages: Vec<_> =
        pages.chain(["README.md".to_owned(), "charts/imagepush/README.md".to_owned()]).collect();
    pages.sort();
    pages
}

/// The objects of a page's blocks.
fn objects(text: &str) -> Vec<Value> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks.flat_map(|block| documents(block.split_once("```").unwrap().0)).collect()
}

/// What the chart says once it is installed.
async fn notes() -> String {
    let install = ["install", "mine", CHART, "--dry-run=client", "--set", REPOSITORY];
    let said = tool("helm", &install).await.succeeded();
    said.split_once("\nNOTES:\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn every_object_that_is_shown_is_accepted() {
    let plane = control_plane().await;
    let namespace = plane.namespace().await;
    let mut found = vec![];
    let mut shown = vec![];
    for page in pages() {
        let text = read(&page);
        let objects = objects(&text);
        let kinds: Vec<_> =
            objects.iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect();
        // Also where a block isn't marked as YAML.
        let pushes = text.lines().filter(|line| line.trim() == "kind: ImagePush").count();
        assert_eq!(kinds.iter().filter(|kind| *kind == "ImagePush").count(), pushes, "{page}");
        shown.extend(objects);
        found.extend((!kinds.is_empty()).then_some((page, kinds)));
    }
    let expected = EXAMPLES.map(|(page, kinds)| {
        (page.to_owned(), kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>())
    });
    assert_eq!(found, expected);
    let notes = notes().await;
    let (_, rest) = notes.split_once("-f - <<END\n").unwrap();
    shown.extend(documents(rest.split_once("\nEND\n").unwrap().0));
    let chart = documents(&read("charts/imagepush/Chart.yaml")).remove(0);
    let of_catalogue = chart["annotations"]["artifacthub.io/crdsExamples"].as_str().unwrap();
    shown.extend(documents(of_catalogue)[0].as_array().unwrap().iter().cloned());
    let theirs = |it: &&mut Value| !OF_OTHERS.iter().any(|version| it["apiVersion"] == *version);
    let mut items = vec![];
    for (number, object) in shown.iter_mut().filter(theirs).enumerate() {
        object["metadata"]["name"] = json!(format!("example-{number}"));
        object["metadata"]["namespace"] = json!(namespace);
        items.push(object.clone());
    }
    assert_eq!(items.len(), 10);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    plane.kubectl_with(&create, &list).await.succeeded();
}

/// As it stands in the manual, beside a clone: the operator and its Jobs run the image that it names.
#[tokio::test]
async fn the_kustomization_of_the_manual_names_the_image_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let text = read("docs/operations.md");
    let (_, block) = text.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    std::fs::write(folder.path().join("kustomization.yaml"), block).unwrap();
    let clone = folder.path().join("imagepush");
    std::os::unix::fs::symlink(env!("CARGO_MANIFEST_DIR"), clone).unwrap();
    let built = tool("kubectl", &["kustomize", folder.path().to_str().unwrap()]).await.succeeded();
    let objects = documents(&built);
    let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let image = "registry.example/imagepush:0.1.0";
    assert_eq!(container["image"], image);
    let arguments = container["args"].as_array().unwrap();
    let own: Vec<_> = arguments.iter().filter(|it| it.to_string().contains("imagepush:")).collect();
    assert_eq!(own, [&json!(format!("--job-image={image}"))]);
}
