//! Argo CD's scripts for ImagePush, run under Lua 5.1 with the cases that stand beside them in upstream's form.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The folder that would be `resource_customizations/imagepush.dev/ImagePush` in Argo CD's repository.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/argocd/imagepush.dev/ImagePush")
}

/// What a script returns for an object.
pub(crate) fn run(script: &str, object: &Value) -> Value {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/gitops/run.lua");
    let mut command = Command::new("lua5.1");
    command.arg(runner).arg(folder().join(script)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|cause| panic!("cannot run `lua5.1`: {cause}; `make install` installs it"));
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} fails on {object:#}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn read(file: &str) -> Value {
    serde_yaml::from_str(&fs::read_to_string(folder().join(file)).unwrap()).unwrap()
}

fn array<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document[key].as_array().unwrap_or_else(|| panic!("there is no list `{key}`"))
}

#[test]
fn health_is_as_its_cases_say() {
    let tests = read("health_test.yaml");
    for test in array(&tests, "tests") {
        let path = test["inputPath"].as_str().unwrap();
        assert_eq!(run("health.lua", &read(path)), test["healthStatus"], "{path}");
    }
    let given = fs::read_dir(folder().join("testdata")).unwrap().count();
    assert_eq!(array(&tests, "tests").len(), given, "an object of testdata has no case");
}

#[test]
fn actions_are_offered_as_their_cases_say() {
    let tests = read("actions/action_test.yaml");
    for test in array(&tests, "discoveryTests") {
        let path = format!("actions/{}", test["inputPath"].as_str().unwrap());
        let offered = run("actions/discovery.lua", &read(&path));
        let mut expected = serde_json::Map::new();
        for action in array(test, "result") {
            let mut action = action.clone();
            let name = action.as_object_mut().unwrap().remove("name").unwrap();
            expected.insert(name.as_str().unwrap().to_owned(), action);
        }
        assert_eq!(offered, Value::Object(expected), "{path}");
    }
}

#[test]
fn actions_do_as_their_cases_say() {
    let tests = read("actions/action_test.yaml");
    let mut tried = Vec::new();
    for test in array(&tests, "actionTests") {
        let at = |key: &str| read(&format!("actions/{}", test[key].as_str().unwrap()));
        let action = test["action"].as_str().unwrap();
        let changed = run(&format!("actions/{action}/action.lua"), &at("inputPath"));
        assert_eq!(changed, at("expectedOutputPath"), "{action}");
        tried.push(action);
    }
    assert_eq!(tried, ["reconcile", "suspend", "resume"]);
}
