//! What YAML means: the bundle's reader against kubectl and a real API server.

use imagepush::bundle::Bundle;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::control_plane::{ControlPlane, control_plane};

/// Scalars that readers of YAML are known to differ about, and some that they aren't.
const SCALARS: [&str; 88] = [
    "y",
    "Y",
    "yes",
    "Yes",
    "YES",
    "yEs",
    "n",
    "N",
    "no",
    "No",
    "NO",
    "true",
    "True",
    "TRUE",
    "tRue",
    "false",
    "on",
    "On",
    "ON",
    "off",
    "Off",
    "OFF",
    "~",
    "null",
    "Null",
    "NULL",
    "nULL",
    "",
    "0",
    "-0",
    "+0",
    "12",
    "+12",
    "-12",
    "012",
    "-012",
    "+012",
    "08",
    "09.5",
    "0o14",
    "0O14",
    "0x1F",
    "0X1f",
    "-0x1f",
    "0xg",
    "0b101",
    "0B101",
    "-0b11",
    "0b12",
    "1_000",
    "1_",
    "_1",
    "1__0",
    "1_0.5",
    "1e3",
    "1E3",
    "1e+3",
    "1e-3",
    "1.",
    "1.5",
    ".5",
    "-.5",
    "+.5",
    ".",
    "..",
    ".5e1",
    ".1_0",
    "1e400",
    "1.2.3",
    "12:30:45",
    "190:20:30",
    "2024-01-02",
    "2024-01-02T03:04:05Z",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "0.1",
    "3.558292936013533e-10",
    "1e20",
    "-1.5E-7",
    ".Nan",
    "+",
    ".1__0",
    "._1",
    ".1_",
    ".1_e5",
    ".5_0e1_0",
];

/// A kind whose objects may hold anything.
const ANYTHING: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "anythings.bundle.example.com"},
  "spec": {
    "group": "bundle.example.com", "scope": "Namespaced",
    "names": {"kind": "Anything", "plural": "anythings", "singular": "anything"},
    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
      "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]
  }
}"#;

/// What the API server has of this object's spec.
async fn spec_there(plane: &ControlPlane, namespace: &str, yaml: &str) -> Value {
    let arguments = ["create", "-n", namespace, "-f", "-", "-o", "json", "--dry-run=server"];
    let made = plane.kubectl_with(&arguments, yaml).await.succeeded();
    serde_json::from_str::<Value>(&made).unwrap()["spec"].clone()
}

async fn ready() -> (&'static ControlPlane, String) {
    // Two tests that apply it at the same moment are in each other's way.
    static MADE: OnceCell<()> = OnceCell::const_new();
    let plane = control_plane().await;
    let make = || async {
        plane.kubectl_with(&["apply", "-f", "-"], ANYTHING).await.succeeded();
        let crd = "crd/anythings.bundle.example.com";
        plane.kubectl(&["wait", "--for=condition=Established", crd]).await.succeeded();
    };
    MADE.get_or_init(make).await;
    (plane, plane.namespace().await)
}

fn object(spec: &str) -> String {
    format!(
        "apiVersion: bundle.example.com/v1\nkind: Anything\nmetadata: {{name: a}}\nspec:\n{spec}"
    )
}

#[tokio::test]
async fn plain_scalars_mean_what_kubectl_takes_them_for() {
    let (plane, namespace) = ready().await;
    let line =
        |(n, scalar): (usize, &&str)| format!("  plain{n}: {scalar}\n  quoted{n}: '{scalar}'\n");
    let keys = "  keys: {yes: 1, 012: 2, 'off': 3, 0x10: 4, 2024-01-02: 5}\n";
    let styles = "  block: |\n    on\n  folded: >-\n    no\n    yes\n  merged:\n    <<: {a: 1, b: &b 2}\n    a: *b\n";
    let spec = SCALARS.iter().enumerate().map(line).collect::<String>() + keys + styles;
    let yaml = object(&spec);
    let there = spec_there(plane, &namespace, &yaml).await;

    let bundle = Bundle::parse(yaml.as_bytes()).unwrap();
    let ours = &bundle.objects()[0].content["spec"];
    for (n, scalar) in SCALARS.iter().enumerate() {
        // The API server holds nothing that is null.
        let plain = format!("plain{n}");
        let (ours, there) = (ours.get(&plain), there.get(&plain));
        assert_eq!(shown(ours), shown(there), "`{scalar}`");
    }
    for key in ["keys", "block", "folded", "merged"] {
        assert_eq!(ours[key], there[key], "{key}");
    }
    for n in 0..SCALARS.len() {
        let quoted = format!("quoted{n}");
        assert_eq!(ours[&quoted], there[&quoted], "{quoted}");
    }
    // What we write, everybody reads alike.
    assert_eq!(spec_there(plane, &namespace, bundle.yaml()).await, there);
}

/// To the API server a number is whole, or one of 64 bits with a point.
fn shown(value: Option<&Value>) -> Value {
    match value {
        // Reading JSON here rounds the last digit.
        Some(Value::Number(number)) if !number.is_i64() => {
            json!(format!("{:.13e}", number.as_f64().unwrap()))
        }
        Some(value) => value.clone(),
        None => Value::Null,
    }
}

#[tokio::test]
async fn what_kubectl_can_not_read_is_refused() {
    let (plane, namespace) = ready().await;
    for spec in
        ["  a: .inf\n", "  a: .NaN\n", "  ~: 1\n", "  a: [1\n", "  a: *x\n", "  a: &a [*a]\n"]
    {
        let yaml = object(spec);
        let arguments = ["create", "-n", &namespace, "-f", "-", "--dry-run=server"];
        assert!(!plane.kubectl_with(&arguments, &yaml).await.success, "{spec}");
        assert!(Bundle::parse(yaml.as_bytes()).is_err(), "{spec}");
    }
}
