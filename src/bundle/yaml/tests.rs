use serde_json::json;

use super::*;

fn one(text: &str) -> Value {
    let documents = documents(text).unwrap();
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents[0].clone()
}

fn fault(text: &str) -> String {
    documents(text).unwrap_err()
}

#[test]
fn quoting_decides() {
    let text =
        "a: yes\nb: 'yes'\nc: \"012\"\nd: 012\ne: |\n  on\nf: >-\n  1e3\ng:\nh: !!str 12\ni: ''\n";
    let expected = json!({
        "a": true, "b": "yes", "c": "012", "d": 10, "e": "on\n", "f": "1e3", "g": null, "h": "12", "i": "",
    });
    assert_eq!(one(text), expected);
    assert_eq!(one("{\"a\": [1, \"2\", {b: no}]}"), json!({"a": [1, "2", {"b": false}]}));
    assert_eq!(one("!!float 3"), json!(3));
    assert_eq!(one("!!int '0x10'"), json!(16));
}

#[test]
fn keys_become_text() {
    assert_eq!(
        one("yes: 1\n12: 2\n'on': 3\n010: 4\n"),
        json!({"true": 1, "12": 2, "on": 3, "8": 4})
    );
    for text in ["1.5: a", "~: a", "[a]: b", "{a: b}: c"] {
        assert!(fault(text).starts_with("line 1: a key is "), "{}", fault(text));
    }
    assert_eq!(fault("true: 1\nyes: 2\n"), "line 2: key `true` occurs twice");
    let long = fault(&format!("{}: 1\n", "k".repeat(MAX_BUNDLE_KEY + 1)));
    assert!(long.ends_with(": a key has more than 1000 bytes"), "{long}");
}

#[test]
fn documents_are_told_apart() {
    let text = "\u{feff}# comment\n---\na: 1\n---\n# nothing\n---\nb: 2\n...\n";
    assert_eq!(documents(text).unwrap(), [json!({"a": 1}), json!(null), json!({"b": 2})]);
    assert_eq!(documents("").unwrap(), [json!(null); 0]);
    assert!(documents("a: &x 1\n---\nb: *x\n").is_err());
}

#[test]
fn aliases_stand_for_copies() {
    let text = "base: &base {a: 1, b: [x]}\ncopy: *base\nlist: [*base, &n 5, *n]\n";
    let base = json!({"a": 1, "b": ["x"]});
    assert_eq!(one(text), json!({"base": base, "copy": base, "list": [base, 5, 5]}));
    assert!(
        fault("a: &a [*a]").contains("an alias stands for what it is part of"),
        "{}",
        fault("a: &a [*a]")
    );
}

#[test]
fn merge_keys_give_way_to_what_comes_after() {
    let text =
        "base: &base {a: 1, b: 2}\nother: &other {b: 3, c: 4}\nx:\n  <<: [*base, *other]\n  a: 5\n";
    assert_eq!(one(text)["x"], json!({"a": 5, "b": 2, "c": 4}));
    assert_eq!(one("'<<': 1"), json!({"<<": 1}));
    let late = fault("base: &base {a: 1}\nx:\n  a: 5\n  <<: *base\n");
    assert_eq!(late, "line 4: `<<` comes after key `a`, which it has, too");
    assert!(fault("<<: 1").ends_with("`<<` needs a mapping, or a list of them"));
    assert!(fault("<<: {a: 1}\n<<: {b: 1}").ends_with("key `<<` occurs twice"));
}

#[test]
fn bombs_are_refused_quickly() {
    let refs = |n: usize| vec![format!("*a{}", n - 1); 9].join(", ");
    let lines = (1..10).map(|n| format!("a{n}: &a{n} [{}]\n", refs(n)));
    let laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned() + &lines.collect::<String>();
    assert_eq!(fault(&laughs), "line 5: its aliases stand for more than 10000 values");
    let deep = fault(&"[".repeat(100_000));
    assert!(deep.starts_with("line 1: "), "{deep}");
    let keys = fault(&"? ".repeat(100_000));
    assert!(keys.starts_with("line 1: "), "{keys}");
    let wide = "- 1\n".repeat(MAX_BUNDLE_NODES + 1);
    assert!(fault(&wide).ends_with("it has more than 524288 values"), "{}", fault(&wide));
    // A long text costs its length each time that an alias stands for it.
    let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(30_000), vec!["*a"; 9_990].join(", "));
    assert_eq!(fault(&long), "line 2: its anchors and aliases stand for more than 4194304 bytes");
    let long = format!("- &a \"{}\"\n- *a\n- *a\n- *a\n", "x".repeat(MAX_BUNDLE / 4));
    assert_eq!(one(&long).as_array().unwrap().len(), 4);
    // An anchor costs what is kept for it, whether an alias follows or not.
    let anchors = (0..60).map(|n| format!("&n{n} [")).collect::<Vec<_>>().concat();
    let nested = format!("{anchors}{}{}", vec!["x"; 9_000].join(","), "]".repeat(60));
    assert_eq!(fault(&nested), "line 1: it has more than 524288 values");
    let texts = format!("{anchors}\"{}\"{}", "x".repeat(1 << 20), "]".repeat(60));
    assert_eq!(fault(&texts), "line 1: its anchors and aliases stand for more than 4194304 bytes");
    // Each is as deep as may be, and the other in it.
    let half = MAX_BUNDLE_DEPTH / 2 + 2;
    let nested = format!(
        "a: &a {}{}\nb: {}*a{}\n",
        "[".repeat(half),
        "]".repeat(half),
        "[".repeat(half),
        "]".repeat(half)
    );
    assert!(fault(&nested).contains("nested deeper than 64"), "{}", fault(&nested));
}

#[test]
fn what_readers_differ_about_is_refused() {
    for (text, message) in [
        ("a: \"x\u{2028}y\"", "line 1 has a character that ends a line for some readers only"),
        ("a: 1\nb: x\u{85}y", "line 2 has a character that ends a line for some readers only"),
        ("a: .inf", "line 1: `.inf` is a number that JSON doesn't have"),
        ("a: !!binary aGVsbG8=", "line 1: tag `!!binary` has no meaning for a Kubernetes object"),
        ("a: !secret x", "line 1: tag `!secret` has no meaning for a Kubernetes object"),
        ("a: !!set {b}", "line 1: tag `!!set` has no meaning for a Kubernetes object"),
        ("a: !!int x", "line 1: tag `!!int` has no meaning for a Kubernetes object"),
        ("a: 1\na: 2", "line 2: key `a` occurs twice"),
    ] {
        assert_eq!(fault(text), message);
    }
    let long = format!("? \"{}\"\n: 1", "k".repeat(1001));
    assert!(fault(&long).ends_with("a key has more than 1000 bytes"));
    for text in ["a: [1", "a: 1\n b: 2\n  c", "a: \"\\q\"", "*x"] {
        let fault = fault(text);
        assert!(fault.starts_with("line "), "{text}: {fault}");
    }
}
