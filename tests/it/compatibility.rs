//! The CRD of today takes every object that the last released one took, and means the same by it.
//!
//! `released.yaml` is what was released last; a release puts the CRD of its day there, and so does whoever changes what was
//! never released. A rule of a field that is there can't be judged here, so that a new one, or another text of one, counts as
//! refusing what was taken.

use imagepush::api;
use serde_json::{Value, json};

const RELEASED: &str = include_str!("compatibility/released.yaml");

/// What says how two writers' lists and maps become one: another word, and what one has applied is taken for another's.
const KINDS_OF_MERGING: [&str; 3] =
    ["x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"];

/// What has become incompatible, with its path.
fn broken(path: &str, old: &Value, new: &Value, problems: &mut Vec<String>) {
    let mut problem = |what: String| problems.push(format!("{path} {what}"));
    if new.is_null() {
        return problem("is gone".into());
    }
    if old["type"] != new["type"] {
        problem(format!("was of the type {}", old["type"]));
    }
    if old["default"] != new["default"] && !old["default"].is_null() {
        problem(format!("had the default {}", old["default"]));
    }
    let texts = |schema: &Value, key: &str| -> Vec<String> {
        schema[key].as_array().into_iter().flatten().map(Value::to_string).collect()
    };
    let values = texts(new, "enum");
    for value in texts(old, "enum").iter().filter(|value| !values.contains(value)) {
        problem(format!("could be {value}"));
    }
    if values.len() > texts(old, "enum").len() && texts(old, "enum").is_empty() {
        problem("could be anything".into());
    }
    let required = texts(old, "required");
    for field in texts(new, "required").iter().filter(|field| !required.contains(field)) {
        problem(format!("did not require {field}"));
    }
    let rules = |schema: &Value| -> Vec<String> {
        let all = schema["x-kubernetes-validations"].as_array();
        all.into_iter().flatten().map(|rule| rule["rule"].to_string()).collect()
    };
    let asked = rules(old);
    for rule in rules(new).iter().filter(|rule| !asked.contains(rule)) {
        problem(format!("did not ask for {rule}"));
    }
    for key in KINDS_OF_MERGING.iter().filter(|key| old[**key] != new[**key]) {
        problem(format!("had {key} {}", old[*key]));
    }
    for key in ["nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"] {
        if old[key] == true && new[key] != true {
            problem(format!("was {key}"));
        }
    }
    for (key, upper) in [
        ("maxLength", true),
        ("maxItems", true),
        ("maxProperties", true),
        ("minProperties", false),
        ("maximum", true),
        ("minLength", false),
        ("minItems", false),
        ("minimum", false),
    ] {
        let narrower = |old: f64, new: f64| if upper { new < old } else { new > old };
        let before = old[key].as_f64();
        if new[key].as_f64().is_some_and(|new| before.is_none_or(|old| narrower(old, new))) {
            problem(format!("had {key} {}", old[key]));
        }
    }
    for key in ["pattern", "format"] {
        if !new[key].is_null() && old[key] != new[key] {
            problem(format!("had the {key} {}", old[key]));
        }
    }
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        broken(&format!("{path}.{name}"), old, &new["properties"][name], problems);
    }
    for (key, shown) in [("items", "[]"), ("additionalProperties", "{}")] {
        if !old[key].is_null() {
            broken(&format!("{path}{shown}"), &old[key], &new[key], problems);
        }
    }
}

fn schema(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// The entries of a list that are gone. A column stays what it is by its name, its place and its type.
fn missing(list: &str, old: &Value, new: &Value) -> Vec<String> {
    let of = |crd: &Value| -> Vec<String> {
        let all = crd.pointer(list).and_then(Value::as_array).into_iter().flatten();
        let told = all.map(|it| match it {
            Value::Object(_) => json!([it["name"], it["jsonPath"], it["type"]]).to_string(),
            _ => it.to_string(),
        });
        told.collect()
    };
    let there = of(new);
    of(old).into_iter().filter(|entry| !there.contains(entry)).collect()
}

#[test]
fn what_was_released_stays_valid() {
    let old: Value = serde_yaml::from_str(RELEASED).unwrap();
    let new = serde_json::to_value(api::crd().unwrap()).unwrap();
    let mut problems = vec![];
    broken("", schema(&old), schema(&new), &mut problems);
    for pointer in [
        "/spec/group",
        "/spec/scope",
        "/spec/names/plural",
        "/spec/names/kind",
        "/spec/names/shortNames",
        "/spec/versions/0/name",
    ] {
        assert_eq!(old.pointer(pointer), new.pointer(pointer), "{pointer}");
    }
    for list in [
        "/spec/names/categories",
        "/spec/versions/0/selectableFields",
        "/spec/versions/0/additionalPrinterColumns",
    ] {
        problems.extend(missing(list, &old, &new));
    }
    assert_eq!(problems, [""; 0]);
}

/// Defaults within items of lists, and empty lists, look like changes to Argo CD for ever.
#[test]
fn nothing_in_the_crd_looks_like_a_change_for_ever() {
    fn walk(path: &str, value: &Value, in_items: bool, problems: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if in_items && fields.get("type").is_some() && fields.contains_key("default") {
                    problems.push(format!("{path} has a default within a list"));
                }
                for (name, field) in fields {
                    let inside = in_items || name == "items";
                    walk(&format!("{path}/{name}"), field, inside, problems);
                }
            }
            Value::Array(items) if items.is_empty() => problems.push(format!("{path} is empty")),
            Value::Array(items) => {
                for item in items {
                    walk(path, item, in_items, problems);
                }
            }
            Value::Null => problems.push(format!("{path} is null")),
            _ => {}
        }
    }
    let mut problems = vec![];
    walk("", &serde_json::to_value(api::crd().unwrap()).unwrap(), false, &mut problems);
    assert_eq!(problems, [""; 0]);
}

#[test]
fn what_breaks_objects_is_noticed() {
    let old = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string", "maxLength": 9, "enum": ["x", "y"], "default": "x"},
        "b": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer", "minimum": 1}},
        "c": {"type": "string", "format": "date-time", "x-kubernetes-validations": [{"rule": "one"}, {"rule": "two"}]},
        "d": {"type": "object", "nullable": true, "additionalProperties": {"type": "string"}},
    }});
    for (pointer, value, expected) in [
        (
            "/properties/e",
            json!({"type": "string", "x-kubernetes-validations": [{"rule": "x"}]}),
            "",
        ),
        (
            "/properties/c/x-kubernetes-validations",
            json!([{"rule": "two", "message": "other"}]),
            "",
        ),
        (
            "/properties/c/x-kubernetes-validations",
            json!([{"rule": "one"}, {"rule": "three"}]),
            ".c did not ask for \"three\"",
        ),
        ("/x-kubernetes-validations", json!([{"rule": "one"}]), " did not ask for \"one\""),
        ("/properties/c/format", Value::Null, ""),
        ("/properties/c/format", json!("duration"), ".c had the format \"date-time\""),
        ("/properties/a/format", json!("date-time"), ".a had the format null"),
        (
            "/properties/b/x-kubernetes-list-type",
            json!("atomic"),
            ".b had x-kubernetes-list-type \"set\"",
        ),
        ("/properties/d/nullable", json!(false), ".d was nullable"),
        ("/properties/d/maxProperties", json!(9), ".d had maxProperties null"),
        ("/properties/d/additionalProperties/maxLength", json!(9), ".d{} had maxLength null"),
        ("/properties/a/maxLength", json!(10), ""),
        ("/properties/a/enum", json!(["x", "y", "z"]), ""),
        ("/properties/a/enum", json!(["x"]), ".a could be \"y\""),
        ("/properties/a/default", json!("y"), ".a had the default \"x\""),
        ("/properties/a/maxLength", json!(8), ".a had maxLength 9"),
        ("/properties/a/type", json!("integer"), ".a was of the type \"string\""),
        ("/properties/b/items/minimum", json!(2), ".b[] had minimum 1"),
        ("/properties/b/maxItems", json!(5), ".b had maxItems null"),
        ("/properties/b", Value::Null, ".b is gone"),
        ("/required", json!(["a", "b"]), " did not require \"b\""),
    ] {
        let mut new = old.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        new.pointer_mut(parent).unwrap()[field] = value;
        let mut problems = vec![];
        broken("", &old, &new, &mut problems);
        assert_eq!(problems.join("; "), expected, "{pointer}");
    }
}

#[test]
fn an_entry_that_goes_is_noticed() {
    let column = json!({"name": "Ready", "jsonPath": ".a", "type": "string"});
    let with = |columns: &[&Value]| json!({"columns": columns, "words": ["x", "y"]});
    let old = with(&[&column]);
    assert_eq!(missing("/columns", &old, &with(&[&json!({"name": "New"}), &column])), [""; 0]);
    for (field, value) in [("name", "Done"), ("jsonPath", ".b"), ("type", "date")] {
        let mut other = column.clone();
        other[field] = json!(value);
        let gone = missing("/columns", &old, &with(&[&other]));
        assert_eq!(gone, [r#"["Ready",".a","string"]"#], "{field}");
    }
    assert_eq!(missing("/words", &old, &json!({"words": ["y"]})), ["\"x\""]);
}
