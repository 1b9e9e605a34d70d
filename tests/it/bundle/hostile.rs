//! Images that mean harm, pushed and looked into.

use imagepush::bundle::{self, Bundle};
use imagepush::error::{Error, Result};
use imagepush::options::CustomResources::{Always, Auto};
use imagepush::options::{Platforms, Retry};
use tokio_util::sync::CancellationToken;

use super::harness::*;
use crate::support::images::{Content, Form, Layer, layer, tar};
use crate::support::tools;

/// The outcome of pushing an image with these layers: under `auto`, and under `yes`.
async fn outcomes(layers: &[Layer]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let from = layout(folder.path(), "source", &Content::image("linux", "amd64", layers));
    let to = |name: &str| format!("oci:{}:1", folder.path().join(name).display());
    let auto = decisions(&from, &to("auto"), Auto).await.1;
    let yes = match run(&from, &to("yes"), Always).await {
        Ok(done) => decision(&done.beside.unwrap()),
        Err(error) => {
            assert!(!folder.path().join("yes").exists(), "something was written: {error}");
            // Who only wants to see it is told the same.
            let shown = shown(&from).await.unwrap_err();
            let told = |error: &Error| (error.kind(), error.class(), error.side());
            assert_eq!(told(&shown), told(&error), "{shown}");
            format!("{}: {error}", error.kind().as_str())
        }
    };
    (auto, yes)
}

/// The same in one layer, of which `fault` must be told.
async fn refused(layers: &[Layer], fault: &str) {
    let (auto, yes) = outcomes(layers).await;
    assert!(auto.starts_with("skipped: ") && auto.contains(fault), "{auto}");
    assert!(yes.starts_with("CustomResourcesInvalid: ") && yes.contains(fault), "{yes}");
}

/// What `imagepush bundle show` reads.
async fn shown(from: &str) -> Result<Bundle> {
    let source = options(from, from, Always).source;
    let cancel = CancellationToken::new();
    Box::pin(bundle::read(source, Platforms::All, Retry::default(), &cancel)).await
}

/// A layer with one member of a type of its own.
fn special(name: &str, kind: u8, target: &str) -> Layer {
    let mut archive = tar(&[(name, b"")]);
    archive[156] = kind;
    archive[157..157 + target.len()].copy_from_slice(target.as_bytes());
    archive[148..156].fill(b' ');
    let sum: u32 = archive[..512].iter().map(|byte| u32::from(*byte)).sum();
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Layer::of(&archive, Form::Gzip)
}

#[tokio::test]
async fn links_lead_nowhere() {
    for (kind, target) in [(b'2', "/etc/passwd"), (b'2', "../../etc/shadow"), (b'1', "etc/passwd")]
    {
        let fault = "`config.yaml` is a link, and links in an image are not followed";
        refused(&[special("metadata/config.yaml", kind, target)], fault).await;
    }
    let fault = "the folder is a link, and links in an image are not followed";
    refused(&[special("metadata", b'2', "/etc")], fault).await;
    refused(&[special("metadata/config.yaml", b'3', "")], "`config.yaml` is not a regular file")
        .await;
    let devious = files(&[("bin/../metadata/config.yaml", &thing("a"))], Form::Gzip);
    refused(&[devious], "a member's name leads into the folder by `..`").await;
    let outside = files(
        &[("../../metadata2/config.yaml", &thing("a")), ("/etc/metadata/a.yaml", "x")],
        Form::Gzip,
    );
    assert_eq!(outcomes(&[outside]).await.0, "absent");
}

#[tokio::test]
async fn bombs_are_refused() {
    let laughs = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let refs = vec![format!("*a{}", n - 1); 9].join(", ");
        text + &format!("a{n}: &a{n} [{refs}]\n")
    });
    let bundle = |text: &str| files(&[("metadata/config.yaml", text)], Form::Gzip);
    refused(&[bundle(&laughs)], "its aliases stand for more than 10000 values").await;
    refused(&[bundle(&"[".repeat(1 << 20))], "reading `config.yaml`: line 1: ").await;
    let many = (0..10_000).map(|n| thing(&format!("a{n}"))).collect::<Vec<_>>().join("---\n");
    refused(&[bundle(&many)], "the bundle has more than the limit of 512 objects").await;
    let large = format!("{}text: {}\n", thing("a"), "x".repeat(5 << 20));
    refused(&[bundle(&large)], "takes the bundle beyond the limit of 4194304 bytes").await;
    let names: Vec<String> = (0..100_000).map(|n| format!("metadata/{n}.yaml")).collect();
    let tiny: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let tiny = Layer::of(&tar(&tiny), Form::Zstd);
    refused(&[tiny], "the folder has more than the limit of 512 files").await;
    let not_text = Layer::of(&tar(&[("metadata/config.yaml", b"a: \xff\xfe")]), Form::Plain);
    refused(&[not_text], "reading `config.yaml`: it is not UTF-8").await;
}

/// A file of zeros that is thousand times as large as its layer, before the bundle: it passes, and nothing of it is held.
#[tokio::test]
async fn a_huge_file_beside_the_bundle_passes() {
    let zeros = vec![0; 256 << 20];
    let text = thing("a");
    let archive = tar(&[("var/zeros", &zeros), ("metadata/config.yaml", text.as_bytes())]);
    drop(zeros);
    assert_eq!(
        outcomes(&[Layer::of(&archive, Form::Zstd)]).await,
        ("pushed".into(), "pushed".into())
    );
}

/// As GNU tar writes files with holes: of no interest, but in the place of the bundle.
#[tokio::test]
async fn files_with_holes_are_not_read() {
    for form in ["gnu", "posix"] {
        let folder = tempfile::tempdir().unwrap();
        let archive = |name: &str| {
            let root = tempfile::tempdir_in(folder.path()).unwrap();
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, thing("holes")).unwrap();
            let file = std::fs::File::options().append(true).open(&file).unwrap();
            file.set_len(10 << 30).unwrap();
            let (to, root) = (folder.path().join("tar"), root.path().to_str().unwrap().to_owned());
            let format = format!("--format={form}");
            tools::run("tar", &["-S", &format, "-cf", to.to_str().unwrap(), "-C", &root, "."]);
            let archive = std::fs::read(&to).unwrap();
            assert!(archive.len() < 1 << 20, "there are no holes");
            Layer::of(&archive, Form::Gzip)
        };
        refused(&[archive("metadata/config.yaml")], "`config.yaml` is a sparse file").await;
        let bundle = files(&[("metadata/config.yaml", &thing("a"))], Form::Gzip);
        let beside = outcomes(&[bundle, archive("var/holes")]).await;
        assert_eq!(beside, ("pushed".into(), "pushed".into()), "{form}");
    }
}

/// A hundred thousand files that are none of the bundle's.
#[tokio::test]
async fn many_files_beside_the_bundle_pass() {
    let text = thing("a");
    let names: Vec<String> = (0..100_000).map(|n| format!("metadata/docs/{n}.yaml")).collect();
    let mut all: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    all.push(("metadata/config.yaml", text.as_bytes()));
    let layer = Layer::of(&tar(&all), Form::Zstd);
    assert_eq!(outcomes(&[layer]).await, ("pushed".into(), "pushed".into()));
}

#[tokio::test]
async fn what_is_hidden_by_whiteouts_is_not_there() {
    let bundle = files(&[("metadata/config.yaml", &thing("a"))], Form::Gzip);
    for hidden in
        ["metadata/.wh.config.yaml", ".wh.metadata", "metadata/.wh..wh..opq", ".wh..wh..opq"]
    {
        let (auto, yes) = outcomes(&[bundle.clone(), files(&[(hidden, "")], Form::Gzip)]).await;
        assert_eq!(auto, "absent", "{hidden}");
        assert!(yes.ends_with("its folder `metadata` has none"), "{hidden}: {yes}");
    }
    // What is broken below may be hidden, too.
    let broken = files(&[("metadata/config.yaml", "a: [")], Form::Gzip);
    let good = files(&[("metadata/config.yaml", &thing("b"))], Form::Zstd);
    assert_eq!(outcomes(&[broken, good]).await, ("pushed".into(), "pushed".into()));
}

#[tokio::test]
async fn a_layer_that_nobody_can_look_into_is_told() {
    let mut encrypted = layer(1, 300, Form::Gzip);
    encrypted.media_type = format!("{}+encrypted", encrypted.media_type);
    let digest = crate::support::images::digest(&encrypted.bytes);
    refused(
        &[encrypted],
        &format!("layer `{digest}` is encrypted, so that no bundle can be found in it"),
    )
    .await;
    let mut cut = files(&[("metadata/config.yaml", &thing("a"))], Form::Gzip);
    cut.bytes.truncate(cut.bytes.len() / 2);
    refused(&[cut], "its data can't be decompressed").await;
    let no_tar = Layer::of(&[7; 4096], Form::Gzip);
    refused(&[no_tar], "its tar archive is damaged").await;
}
