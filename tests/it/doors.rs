//! The two doors of the engine: the command line and the ImagePush object say the same things, and mean the same by them.

use std::collections::BTreeSet;

use imagepush::access::{Access, Network};
use imagepush::api::v1alpha1::ImagePushSpec;
use imagepush::controller::{resolve, validate};
use imagepush::options::{Endpoint, PushOptions};
use serde_json::{Value, json};

/// What the command line makes of its arguments.
fn by_arguments(arguments: &str) -> PushOptions {
    let arguments = ["imagepush", "push"].into_iter().chain(arguments.split_whitespace());
    imagepush::cli::push_options(arguments.map(Into::into)).unwrap()
}

/// What the controller makes of a spec.
fn by_spec(spec: &Value) -> PushOptions {
    let spec: ImagePushSpec = serde_json::from_value(spec.clone()).unwrap();
    let access =
        |side| resolve::access(side, &resolve::Secrets::default(), &Network::default()).unwrap();
    validate::options(&spec, access(&spec.source), access(&spec.destination)).unwrap()
}

/// Everything but where credentials and certificates come from: files here, Secrets there.
fn shown(options: PushOptions) -> String {
    // Whether local stores are hashed makes no difference where there are none.
    let PushOptions {
        source,
        destination,
        platforms,
        format,
        layers,
        retry,
        verify_source: _,
        pace: _,
        codecs: _,
        custom_resources,
        // What the operator knows of an object, and nobody asks for.
        clues: _,
        verify_after_push,
        overwrites: _,
    } = options;
    let side = |endpoint| {
        let Endpoint {
            reference,
            access:
                Access {
                    credentials: _,
                    certificates: _,
                    tls,
                    network: _,
                    registries: _,
                    root: _,
                    scratch_bytes: _,
                },
        } = endpoint;
        format!("{reference} {tls:?}")
    };
    let sides = format!("{} {}", side(source), side(destination));
    format!(
        "{sides} {platforms:?} {format:?} {layers:?} {retry:?} {custom_resources:?} {verify_after_push}"
    )
}

#[test]
fn both_doors_lead_to_the_same_options() {
    let cases = [
        // The one default that differs: which node the operator runs on must not matter.
        ("", json!({"platforms": {"mode": "System"}})),
        ("--all", json!({})),
        ("--all", json!({"platforms": {}, "compression": {}, "retry": {}})),
        ("--all --format oci", json!({"format": "oci"})),
        ("--all --format v2s2", json!({"format": "v2s2"})),
        ("--all --compression-format gzip", json!({"compression": {"format": "gzip"}})),
        ("--all --compression-format zstd", json!({"compression": {"format": "zstd"}})),
        (
            "--all --compression-format gzip --compression-level 9",
            json!({"compression": {"format": "gzip", "level": 9}}),
        ),
        (
            "--all --compression-format zstd --compression-level 20",
            json!({"compression": {"format": "zstd", "level": 20}}),
        ),
        ("--all --disable-compression", json!({"compression": {"disabled": true}})),
        ("--all --verify-after-push", json!({"verifyAfterPush": true})),
        ("--all --cr-option auto", json!({"customResources": {"policy": "Auto"}})),
        ("--all --cr-option yes", json!({"customResources": {"policy": "Always"}})),
        ("--all --cr-option no", json!({"customResources": null})),
        ("--all --cr-option no", json!({"customResources": {"policy": "Never"}})),
        ("--all --cr-option only", json!({"customResources": {"policy": "Only"}})),
        ("--all --retry 0", json!({"retry": {"limit": 0}})),
        ("--all --retry-delay 1m30s", json!({"retry": {"delay": "1m30s"}})),
        ("--all --retry 50 --retry-delay 5ms", json!({"retry": {"limit": 50, "delay": "5ms"}})),
    ];
    let references = [
        ("oci:/a:1", "docker://r.test/b:1"),
        (
            "docker://r.test/a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "dir:/b",
        ),
    ];
    for (source, destination) in references {
        for (arguments, changes) in &cases {
            let mut spec = json!({
                "source": {"reference": source},
                "destination": {"reference": destination},
                // Its default differs: nobody looks on while the operator pushes.
                "verifyAfterPush": false,
                // So does this one: where nothing is said, it pushes the image alone.
                "customResources": {},
            });
            spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let arguments = format!("{source} {destination} {arguments}");
            assert_eq!(shown(by_arguments(&arguments)), shown(by_spec(&spec)), "{arguments}");
        }
    }
}

/// Each flag of a push, and the fields that say the same.
const SAME: [(&str, &str); 24] = [
    ("all", "platforms.mode"),
    ("authfile", "destination.secretRef.name"),
    ("authfile", "source.secretRef.name"),
    ("cert-dir", "destination.certSecretRef.name"),
    ("cert-dir", "source.certSecretRef.name"),
    ("compression-format", "compression.format"),
    ("compression-level", "compression.level"),
    ("cr-option", "customResources.policy"),
    ("creds", "destination.secretRef.name"),
    ("creds-stdin", "destination.secretRef.name"),
    ("disable-compression", "compression.disabled"),
    ("dry-run", "mode"),
    ("format", "format"),
    ("plain-http", "destination.tlsPolicy"),
    ("plain-http", "source.tlsPolicy"),
    ("platform", "platforms.list"),
    ("retry", "retry.limit"),
    ("retry-delay", "retry.delay"),
    ("source-cert-dir", "source.certSecretRef.name"),
    ("source-creds", "source.secretRef.name"),
    ("source-creds-stdin", "source.secretRef.name"),
    ("source-tls-verify", "source.tlsPolicy"),
    ("tls-verify", "destination.tlsPolicy"),
    ("verify-after-push", "verifyAfterPush"),
];

/// Flags without a field.
const FLAGS_ALONE: [(&str, &str); 11] = [
    ("digestfile", "the digest is in `status.artifact.digest`"),
    ("foreign-layer-host", "where the operator connects to is not for an object to say"),
    ("help", "about the program"),
    ("if-tag-matches", "`overwritePolicy` says it for every push of an object, not for one"),
    ("log-format", "about the program; the operator has it"),
    ("output", "about what is printed"),
    ("quiet", "about what is printed; the field is about the status"),
    ("token-server", "whom credentials may go to is not for an object to say"),
    ("upload-host", "where blobs may go is not for an object to say"),
    ("upload-host-with-credentials", "whom credentials may go to is not for an object to say"),
    ("verify-source", "the operator reads from registries, and hashes all that it reads"),
];

/// Fields without a flag.
const FIELDS_ALONE: [(&str, &str); 26] = [
    ("customResources.apply.forceConflicts", "there is no cluster; `kubectl apply` is for that"),
    ("customResources.apply.prune", "there is no cluster; `kubectl apply` is for that"),
    ("customResources.apply.serviceAccountName", "a ServiceAccount is in a cluster only"),
    ("customResources.apply.timeout", "there is no cluster; `kubectl apply` is for that"),
    ("customResources.apply.wait", "there is no cluster; `kubectl apply` is for that"),
    ("deletionPolicy", "there is no object to delete"),
    ("destination.reference", "an argument without a flag"),
    ("digestOutput.configMapKeyRef.key", "there is no cluster; `--digestfile` writes a file"),
    ("digestOutput.configMapKeyRef.name", "there is no cluster; `--digestfile` writes a file"),
    ("executor", "the command line pushes by itself"),
    ("interval", "the command line pushes once"),
    ("overwritePolicy", "who runs a command knows what is there, or asks with `inspect`"),
    ("quiet", "about the status; the flag is about what is printed"),
    ("runPolicy", "the command line pushes once"),
    ("destination.serviceAccountName", "a ServiceAccount is in a cluster only"),
    ("source.reference", "an argument without a flag"),
    ("source.serviceAccountName", "a ServiceAccount is in a cluster only"),
    ("suspend", "whoever doesn't want the push doesn't start it"),
    ("timeout", "whoever starts the push can end it"),
    ("ttlSecondsAfterFinished", "there is no object to delete"),
    ("destination.volume.hostPath.path", "a path on the machine does without"),
    ("destination.volume.persistentVolumeClaim.claimName", "a path on the machine does without"),
    ("destination.volume.persistentVolumeClaim.readOnly", "a path on the machine does without"),
    ("source.volume.hostPath.path", "a path on the machine does without"),
    ("source.volume.persistentVolumeClaim.claimName", "a path on the machine does without"),
    ("source.volume.persistentVolumeClaim.readOnly", "a path on the machine does without"),
];

#[test]
fn every_flag_has_a_field_or_a_reason() {
    let mut command = imagepush::cli::command();
    command.build();
    let push = command.find_subcommand("push").unwrap();
    let flags: BTreeSet<&str> = push.get_arguments().filter_map(clap::Arg::get_long).collect();
    let known = SAME.map(|(flag, _)| flag).into_iter().chain(FLAGS_ALONE.map(|(flag, _)| flag));
    assert_eq!(flags, known.collect());
}

#[test]
fn every_field_has_a_flag_or_a_reason() {
    fn leaves(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
        match schema.get("properties") {
            None => drop(found.insert(path.to_owned())),
            Some(fields) => {
                for (name, schema) in fields.as_object().unwrap() {
                    let path =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    leaves(&path, schema, found);
                }
            }
        }
    }
    let crd = serde_json::to_value(imagepush::api::crd().unwrap()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields = BTreeSet::new();
    leaves("", schema, &mut fields);
    let known =
        SAME.map(|(_, field)| field).into_iter().chain(FIELDS_ALONE.map(|(field, _)| field));
    assert_eq!(fields, known.map(str::to_owned).collect());
}
