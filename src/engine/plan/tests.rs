use super::*;
use crate::image::{Annotations, Index};
use crate::transport::{ImageIdentity, Verifier};

use Compression::{Gzip, None as Plain, Zstd};
use ManifestFormat::{Oci, V2s2};

const REGISTRY: Capabilities = Capabilities {
    formats: &[Oci, V2s2],
    index: true,
    artifacts: true,
    attachments: false,
    layers: LayerForm::Compressed,
    foreign_layers: true,
    identity: ImageIdentity::Manifest,
    verifier: Verifier::Engine,
};
const LAYOUT: Capabilities = Capabilities { formats: &[Oci], ..REGISTRY };
const DIRECTORY: Capabilities = Capabilities { layers: LayerForm::AsIs, ..REGISTRY };
const ARCHIVE: Capabilities = Capabilities {
    formats: &[V2s2],
    index: false,
    artifacts: false,
    attachments: false,
    layers: LayerForm::Uncompressed,
    foreign_layers: false,
    identity: ImageIdentity::Config,
    verifier: Verifier::Engine,
};

fn wants(capabilities: Capabilities, layers: Layers) -> Wants {
    Wants { capabilities, layers, may_edit: Ok(()) }
}

fn codec(format: Compression) -> Layers {
    Layers::Compress(Codec::new(format, Option::None).unwrap())
}

fn image(format: ManifestFormat, layers: &[Compression]) -> Tree {
    let layer = |compression: &Compression| {
        let media_type = MediaType::of_layer(format, *compression).unwrap();
        Descriptor::of(media_type, compression.as_str().as_bytes())
    };
    let config = if format == Oci { MediaType::OCI_CONFIG } else { MediaType::DOCKER_CONFIG };
    let image = ImageManifest {
        schema_version: 2,
        media_type: Option::None,
        artifact_type: Option::None,
        config: Descriptor::of(config, b"{}"),
        layers: layers.iter().map(layer).collect(),
        subject: Option::None,
        annotations: Annotations::new(),
        other: std::collections::BTreeMap::new(),
    };
    leaf(Manifest::from_image(image, format.manifest_type()))
}

fn leaf(manifest: Manifest) -> Tree {
    Tree { manifest, platform: Option::None, children: vec![] }
}

fn index(children: Vec<Tree>) -> Tree {
    let entries = children.iter().map(|child| child.manifest.descriptor()).collect();
    let manifest = Manifest::from_index(Index::new(entries), MediaType::OCI_INDEX);
    Tree { manifest, platform: Option::None, children }
}

fn actions(tree: &Tree, choice: FormatChoice, wants: &Wants) -> Vec<&'static str> {
    let plan = plan(tree, choice, wants).unwrap();
    let images = plan.images();
    images.iter().flat_map(|(_, _, actions)| actions.iter().map(|a| a.as_str())).collect()
}

#[test]
fn layers_take_the_form_that_the_destination_wants() {
    let all = [Plain, Gzip, Zstd];
    let cases = [
        (REGISTRY, Layers::Keep, Oci, ["compress", "keep", "keep"]),
        (REGISTRY, Layers::Keep, V2s2, ["compress", "keep", "compress"]),
        (REGISTRY, Layers::DoNotCompress, Oci, ["keep", "keep", "keep"]),
        (REGISTRY, Layers::DoNotCompress, V2s2, ["keep", "keep", "decompress"]),
        (REGISTRY, codec(Gzip), Oci, ["compress", "keep", "compress"]),
        (REGISTRY, codec(Zstd), Oci, ["compress", "compress", "keep"]),
        (DIRECTORY, Layers::Keep, Oci, ["keep", "keep", "keep"]),
        (DIRECTORY, codec(Zstd), Oci, ["compress", "compress", "keep"]),
        (ARCHIVE, Layers::Keep, V2s2, ["keep", "decompress", "decompress"]),
        (ARCHIVE, Layers::DoNotCompress, V2s2, ["keep", "decompress", "decompress"]),
    ];
    for (capabilities, layers, format, expected) in cases {
        let wants = wants(capabilities, layers);
        let found = actions(&image(Oci, &all), FormatChoice::Convert(format), &wants);
        assert_eq!(found, expected, "{capabilities:?} {layers:?} {format:?}");
    }
}

#[test]
fn foreign_layers_stay_where_they_are_if_the_destination_knows_such() {
    let mut tree = image(Oci, &[]);
    let mut foreign = Descriptor::of(
        MediaType::new("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        b"foreign",
    );
    foreign.urls = vec!["https://example.com/layer".into()];
    let mut body = tree.manifest.as_image().unwrap().clone();
    body.layers.push(foreign);
    tree.manifest = Manifest::from_image(body, MediaType::OCI_MANIFEST);
    let keep = FormatChoice::Keep;
    assert_eq!(actions(&tree, keep, &wants(REGISTRY, codec(Zstd))), ["leave"]);
    let copies = Capabilities { foreign_layers: false, ..DIRECTORY };
    assert_eq!(actions(&tree, keep, &wants(copies, Layers::Keep)), ["keep"]);
}

#[test]
fn the_manifest_is_known_in_advance_unless_layers_are_rewritten() {
    let tree = image(V2s2, &[Gzip]);
    let exact = |choice, wants: &Wants| plan(&tree, choice, wants).unwrap().exact;
    let keep = wants(REGISTRY, Layers::Keep);
    assert_eq!(exact(FormatChoice::Keep, &keep), Some(tree.manifest.clone()));
    let converted = exact(FormatChoice::Convert(Oci), &keep).unwrap();
    assert_eq!(converted.bytes(), image(Oci, &[Gzip]).manifest.bytes());
    assert_eq!(
        exact(FormatChoice::Keep, &wants(REGISTRY, codec(Gzip))),
        Some(tree.manifest.clone())
    );
    assert_eq!(exact(FormatChoice::Convert(Oci), &wants(REGISTRY, codec(Zstd))), Option::None);
}

#[test]
fn an_index_is_edited_only_if_one_of_its_images_changes() {
    let tree = index(vec![image(Oci, &[Gzip]), image(Oci, &[Gzip, Gzip])]);
    let kept = plan(&tree, FormatChoice::Keep, &wants(REGISTRY, Layers::Keep)).unwrap();
    assert_eq!(kept.exact.as_ref(), Some(&tree.manifest));
    let converted =
        plan(&tree, FormatChoice::Convert(V2s2), &wants(REGISTRY, Layers::Keep)).unwrap();
    let list = converted.exact.unwrap();
    assert_eq!(*list.media_type(), MediaType::DOCKER_LIST);
    let digests: Vec<Digest> =
        list.as_index().unwrap().manifests.iter().map(|entry| entry.digest.clone()).collect();
    let expected = [image(V2s2, &[Gzip]), image(V2s2, &[Gzip, Gzip])];
    assert_eq!(digests, expected.map(|tree| tree.manifest.digest().clone()));
}

#[test]
fn formats_are_tried_in_a_sensible_order() {
    use FormatChoice::{Convert, Keep};
    let choices = |tree: &Tree, fixed, wants: &Wants| {
        format_choices(tree, fixed, wants).map_err(|error| error.to_string())
    };
    let (oci, docker) = (image(Oci, &[Gzip]), image(V2s2, &[Gzip]));
    let keep = |capabilities| wants(capabilities, Layers::Keep);
    let pinned = Wants { may_edit: Err("the destination names a digest"), ..keep(REGISTRY) };
    let pinned_layout = Wants { capabilities: LAYOUT, ..pinned };
    let cases = [
        (&oci, Option::None, keep(REGISTRY), Ok(vec![Keep, Convert(V2s2)])),
        (&docker, Option::None, keep(REGISTRY), Ok(vec![Keep, Convert(Oci)])),
        (&docker, Option::None, keep(LAYOUT), Ok(vec![Convert(Oci)])),
        (&oci, Option::None, keep(ARCHIVE), Ok(vec![Convert(V2s2)])),
        (&docker, Option::None, wants(REGISTRY, codec(Zstd)), Ok(vec![Convert(Oci)])),
        (&oci, Some(V2s2), keep(REGISTRY), Ok(vec![Convert(V2s2)])),
        (&oci, Option::None, pinned, Ok(vec![Keep])),
        (
            &oci,
            Some(V2s2),
            keep(LAYOUT),
            Err("the destination cannot hold manifests of format `v2s2`".to_owned()),
        ),
        (
            &oci,
            Some(V2s2),
            wants(REGISTRY, codec(Zstd)),
            Err("format `v2s2` has no media type for layers compressed with zstd".to_owned()),
        ),
        (
            &docker,
            Option::None,
            pinned_layout,
            Err(format!(
                "manifest `{}` would have to be edited, but the destination names a digest",
                docker.manifest.digest()
            )),
        ),
    ];
    for (tree, fixed, wants, expected) in cases {
        assert_eq!(choices(tree, fixed, &wants), expected, "{fixed:?} {wants:?}");
    }
}

#[test]
fn a_pinned_destination_takes_the_manifest_as_it_is_or_not_at_all() {
    let pinned =
        Wants { may_edit: Err("the destination names a digest"), ..wants(REGISTRY, codec(Zstd)) };
    assert_eq!(actions(&image(Oci, &[Plain, Gzip]), FormatChoice::Keep, &pinned), ["keep", "keep"]);
    let tree = image(Oci, &[Gzip]);
    let error = plan(&tree, FormatChoice::Convert(V2s2), &pinned).unwrap_err();
    assert!(error.to_string().ends_with("but the destination names a digest"), "{error}");
}

#[test]
fn artifacts_go_only_where_they_can_be_held() {
    let mut tree = image(Oci, &[Plain]);
    let mut body = tree.manifest.as_image().unwrap().clone();
    body.config.media_type = MediaType::new("application/vnd.cncf.helm.config.v1+json");
    tree.manifest = Manifest::from_image(body, MediaType::OCI_MANIFEST);
    assert_eq!(actions(&tree, FormatChoice::Keep, &wants(REGISTRY, codec(Zstd))), ["keep"]);
    let convert = FormatChoice::Convert(V2s2);
    let error = plan(&tree, convert, &wants(ARCHIVE, Layers::Keep)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the destination holds container images only, not artifacts of type `application/vnd.cncf.helm.config.v1+json`"
    );
    let error = plan(&tree, convert, &wants(REGISTRY, Layers::Keep)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an artifact of type `application/vnd.cncf.helm.config.v1+json` cannot be converted, only container images can"
    );
}

#[test]
fn rewritten_layers_get_the_type_of_what_they_became() {
    let tree = image(V2s2, &[Gzip, Gzip]);
    let plan = plan(&tree, FormatChoice::Convert(Oci), &wants(REGISTRY, codec(Zstd))).unwrap();
    let new = rewritten_layer(Oci, Zstd, Digest::of(b"zstd"), 4).unwrap();
    let manifest = assemble_image(&plan, Some(&[Some(new.clone()), Option::None])).unwrap();
    let expected = [new, image(Oci, &[Gzip]).manifest.as_image().unwrap().layers[0].clone()];
    assert_eq!(manifest.as_image().unwrap().layers, expected);
}

#[test]
fn a_manifest_that_is_listed_twice_stays_so() {
    let mut tree = index(vec![image(Oci, &[Gzip]), image(Oci, &[Gzip])]);
    let mut body = tree.manifest.as_index().unwrap().clone();
    body.manifests[1].platform = Some("linux/arm64".parse().unwrap());
    tree.manifest = Manifest::from_index(body, MediaType::OCI_INDEX);
    let kept = plan(&tree, FormatChoice::Keep, &wants(REGISTRY, Layers::Keep)).unwrap();
    assert_eq!(kept.exact, Some(tree.manifest.clone()));
    let convert = FormatChoice::Convert(V2s2);
    let list = plan(&tree, convert, &wants(REGISTRY, Layers::Keep)).unwrap().exact.unwrap();
    let platforms = list.as_index().unwrap().platforms();
    assert_eq!(
        (list.as_index().unwrap().manifests.len(), platforms),
        (2, vec!["linux/arm64".into()])
    );
}

#[test]
fn layers_of_unknown_kinds_stay_in_their_format_and_are_refused_in_another() {
    let mut tree = image(Oci, &[Plain]);
    let mut body = tree.manifest.as_image().unwrap().clone();
    let unknown = MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    body.layers.push(Descriptor::of(unknown.clone(), b"secret"));
    tree.manifest = Manifest::from_image(body, MediaType::OCI_MANIFEST);
    let wants = wants(REGISTRY, Layers::Keep);
    let kept = plan(&tree, FormatChoice::Keep, &wants).unwrap();
    let new = rewritten_layer(Oci, Gzip, Digest::of(b"gzip"), 4).unwrap();
    let manifest = assemble_image(&kept, Some(&[Some(new), Option::None])).unwrap();
    assert_eq!(manifest.as_image().unwrap().layers[1].media_type, unknown);
    // Known before any byte moves, though a layer would be rewritten.
    let error = plan(&tree, FormatChoice::Convert(V2s2), &wants).unwrap_err();
    assert_eq!(error.to_string(), format!("a layer of media type `{unknown}` cannot be converted"));
}
