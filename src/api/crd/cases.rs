//! Objects that the rules take and refuse: for the rules as they are evaluated here, and for the API server.

use serde_json::{Value, json};

/// A minimal object with `changes` merged into its spec.
pub(crate) fn object(changes: &Value) -> Value {
    let mut spec = json!({
        "source": {"reference": "docker://a.example/x:1"},
        "destination": {"reference": "docker://b.example/x:1"},
        "interval": "10m",
    });
    for (field, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(spec.as_object_mut().unwrap().remove(field)),
            value => spec[field] = value.clone(),
        }
    }
    json!({"metadata": {"name": "x"}, "spec": spec})
}

/// Changes of the minimal object that make sense.
pub(crate) fn accepted() -> Vec<Value> {
    let secret = json!({"name": "s"});
    vec![
        json!({}),
        json!({"runPolicy": "Once", "interval": null}),
        json!({"interval": "1m"}),
        json!({"timeout": "1h30m", "suspend": true, "mode": "DryRun", "format": "v2s2"}),
        json!({"destination": {"reference": "docker://b.example/x:1", "secretRef": secret,
               "certSecretRef": secret, "tlsPolicy": "SkipVerify"}}),
        json!({"platforms": {}}),
        json!({"platforms": {"mode": "List", "list": ["linux/amd64", "linux/arm/v7"]}}),
        json!({"compression": {"disabled": true}}),
        json!({"compression": {"format": "gzip", "level": 9}}),
        json!({"compression": {"format": "zstd", "level": 20}}),
        json!({"retry": {"limit": 0, "delay": "2s"}}),
        json!({"runPolicy": "Once", "interval": null, "ttlSecondsAfterFinished": 0}),
        json!({"deletionPolicy": "Delete", "overwritePolicy": "IfNotPresent"}),
        json!({"digestOutput": {"configMapKeyRef": {"name": "c", "key": "digest"}}}),
        json!({"customResources": {"apply": {"serviceAccountName": "a", "wait": true, "timeout": "1h"}}}),
        json!({"executor": "Job"}),
        json!({"source": {"reference": "oci:a/b..c:1",
               "volume": {"persistentVolumeClaim": {"claimName": "c"}}}}),
        json!({"destination": {"reference": "docker-archive:x.tar",
               "volume": {"hostPath": {"path": "/srv/a..b/images"}}}}),
    ]
}

/// Changes that contradict something, with what is said to them. Known are these transports.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn refused(transports: &[&str]) -> Vec<(Value, String)> {
    let interval =
        "`interval` must be set when `runPolicy` is 'Continuous', and may not be set otherwise";
    let docker = "`secretRef`, `serviceAccountName`, `certSecretRef` and `tlsPolicy` may only be specified for the docker transport";
    let list = "`list` must be set when `mode` is 'List', and may not be set otherwise";
    let entries = "`list` must have entries of the form 'OS/ARCH' or 'OS/ARCH/VARIANT'";
    let disabled = "`format` and `level` may not be specified when `disabled` is true";
    let form = format!(
        "`reference` must be of the form 'transport:details', such as 'docker://registry.example/app:1.0'; \
         known transports: {}",
        transports.join(", ")
    );
    let name = "`name` must be the name of an object: lower-case letters and digits, with `-` and `.` between them";
    let tagged = "`deletionPolicy` may only be 'Delete' for docker destinations with a tag";
    let secret = json!({"name": "s"});
    let cases = [
        (with("app", &json!({})), form.as_str()),
        (with("docker:", &json!({})), form.as_str()),
        (with("foo://x", &json!({})), &form),
        (with("Registry.example/app:1", &json!({})), form.as_str()),
        (json!({"interval": null}), interval),
        (json!({"runPolicy": "Once"}), interval),
        (json!({"interval": "59s"}), "`interval` must be greater than or equal to 1m"),
        (json!({"timeout": "500ms"}), "`timeout` must be between 1s and 24h"),
        (json!({"timeout": "25h"}), "`timeout` must be between 1s and 24h"),
        (json!({"retry": {"delay": "16m"}}), "`delay` must be less than or equal to 15m"),
        (with("oci:x", &json!({"secretRef": secret})), docker),
        (with("oci:x", &json!({"serviceAccountName": "a"})), docker),
        (
            with("docker://a/x", &json!({"secretRef": secret, "serviceAccountName": "a"})),
            "`serviceAccountName` may not be specified together with `secretRef`",
        ),
        (with("oci:x", &json!({"certSecretRef": secret})), docker),
        (with("docker://a/x", &json!({"secretRef": {"name": "?limit=500"}})), name),
        (with("docker://a/x", &json!({"certSecretRef": {"name": "../x"}})), name),
        (
            with("docker://a/x", &json!({"serviceAccountName": "a-"})),
            "`serviceAccountName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them",
        ),
        (with("oci:x", &json!({"tlsPolicy": "Verify"})), docker),
        (
            with("docker://a/x", &json!({"certSecretRef": secret, "tlsPolicy": "PlainHTTP"})),
            "`certSecretRef` may not be specified when `tlsPolicy` is 'PlainHTTP'",
        ),
        (
            json!({"ttlSecondsAfterFinished": 60}),
            "`ttlSecondsAfterFinished` may only be specified when `runPolicy` is 'Once'",
        ),
        (json!({"deletionPolicy": "Delete", "destination": {"reference": "oci:x"}}), tagged),
        (
            json!({"deletionPolicy": "Delete", "destination": {"reference": "docker://a/x@sha256:0"}}),
            tagged,
        ),
        (json!({"platforms": {"mode": "List"}}), list),
        (json!({"platforms": {"list": ["linux/amd64"]}}), list),
        (json!({"platforms": {"mode": "List", "list": ["linux/amd64", "linux"]}}), entries),
        (json!({"platforms": {"mode": "List", "list": ["linux/arm/v7/x"]}}), entries),
        (json!({"compression": {"disabled": true, "format": "gzip"}}), disabled),
        (
            json!({"compression": {"level": 3}}),
            "`level` may only be specified together with `format`",
        ),
        (
            json!({"compression": {"format": "gzip", "level": 10}}),
            "`level` must be between 1 and 9 when `format` is 'gzip'",
        ),
    ];
    let apply = |policy: &str, timeout: &str| {
        let apply = json!({"serviceAccountName": "a", "timeout": timeout});
        json!({"customResources": {"policy": policy, "apply": apply}})
    };
    let never = "`apply` may not be specified when `policy` is 'Never'";
    let hour = "`timeout` must be between 1s and 1h";
    let of_bundles =
        [(apply("Never", "1m"), never), (apply("Auto", "0s"), hour), (apply("Auto", "2h"), hour)];
    let all = cases.into_iter().chain(of_bundles).chain(volumes_that_are_refused());
    all.map(|(changes, message)| (changes, message.to_owned())).collect()
}

/// Changes that only a cluster refuses, with what it says.
pub(crate) fn refused_in_a_cluster() -> [(Value, &'static str); 2] {
    let needed = "`volume` must be specified for transports other than docker";
    [
        (with("oci:x", &json!({})), needed),
        (json!({"destination": {"reference": "docker-archive:x.tar"}}), needed),
    ]
}

/// A source of this name, with more fields.
fn with(reference: &str, more: &Value) -> Value {
    let mut side = json!({"reference": reference});
    side.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"source": side})
}

fn volumes_that_are_refused() -> Vec<(Value, &'static str)> {
    let relative = "`reference` must name a path relative to `volume`, and may not contain '..'";
    let from_root = "`path` must begin at the root, and may not contain '..'";
    let one_volume = "exactly one of `persistentVolumeClaim` and `hostPath` must be set";
    let claim = json!({"persistentVolumeClaim": {"claimName": "c"}});
    vec![
        (
            with("docker://a/x", &json!({"volume": claim})),
            "`volume` may not be specified for the docker transport",
        ),
        (with("oci:/x", &json!({"volume": claim})), relative),
        (with("oci:../x", &json!({"volume": claim})), relative),
        (with("oci:a/../x:1", &json!({"volume": claim})), relative),
        (with("oci:a/..:1", &json!({"volume": claim})), relative),
        (
            with("oci:a", &json!({"volume": {"persistentVolumeClaim": {"claimName": "../x"}}})),
            "`claimName` must be the name of an object: lower-case letters and digits, with `-` and `.` between them",
        ),
        (with("oci:a", &json!({"volume": {"hostPath": {"path": "srv"}}})), from_root),
        (with("oci:a", &json!({"volume": {"hostPath": {"path": "/srv/../etc"}}})), from_root),
        (with("oci:a", &json!({"volume": {"hostPath": {"path": "/srv/.."}}})), from_root),
        (with("oci:a", &json!({"volume": {}})), one_volume),
        (
            with(
                "oci:a",
                &json!({"volume": {"hostPath": {"path": "/x"}, "persistentVolumeClaim": {"claimName": "c"}}}),
            ),
            one_volume,
        ),
        (
            json!({"executor": "InProcess", "source": {"reference": "oci:a", "volume": claim}}),
            "`executor` may not be 'InProcess' when a `volume` is specified",
        ),
        (
            json!({"destination": {"reference": "oci:a", "volume": {
                "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}}}),
            "`destination.volume` may not be read-only",
        ),
    ]
}
