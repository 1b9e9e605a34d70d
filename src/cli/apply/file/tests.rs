use super::*;

const HEAD: &str = "apiVersion: imagepush.dev/v1alpha1\nkind: ImagePush\n";

/// An object from a registry to a layout, with `more` in its source.
fn push(name: &str, more: &str) -> String {
    format!(
        "{HEAD}metadata: {{name: {name}}}\nspec:\n  runPolicy: Once\n  \
         source: {{reference: 'docker://r.test/a:1'{more}}}\n  destination: {{reference: 'oci:b:1'}}\n"
    )
}

fn refusal(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f");
    std::fs::write(&file, text).unwrap();
    let error = read(&file).unwrap_err();
    let found = error.to_string().replace(&file.display().to_string(), "f");
    let hint = error.next_step().map(|hint| format!("; {hint}")).unwrap_or_default();
    assert_eq!(error.exit_code(), 2, "{found}");
    found.strip_prefix("reading `f`: ").unwrap_or(&found).to_owned() + &hint
}

#[test]
fn objects_come_in_their_order_and_without_their_former_status() {
    let text = format!(
        "---\n{}status: {{observedGeneration: 7}}\n---\n{}---\n",
        push("one", ""),
        push("two", "")
    );
    let documents = Documents::parse(&text).unwrap();
    let found: Vec<_> = documents.objects.iter().map(|it| (name(it), it.status.clone())).collect();
    assert_eq!(found, [("ImagePush `one`".to_owned(), None), ("ImagePush `two`".to_owned(), None)]);
}

#[test]
fn a_secret_has_its_data_and_its_texts() {
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\ntype: Opaque\n\
         data: {{a: b25l, b: b25l}}\nstringData: {{b: two}}\n---\n{}",
        push("x", "")
    );
    let secrets = Documents::parse(&text).unwrap().secrets;
    let data = secrets["n"].named["s"].data.as_ref().unwrap();
    let found: Vec<_> = data.iter().map(|(key, value)| (key.as_str(), &value.0[..])).collect();
    assert_eq!(found, [("a", &b"one"[..]), ("b", &b"two"[..])]);
}

#[test]
fn what_is_wrong_is_told_by_document_and_field() {
    let secret = |content: &str| {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
        [text, content, "\n---\n", &push("x", ", secretRef: {name: s}")].concat()
    };
    let again = |text: String| [&text, "---\n", &text].concat();
    let quote =
        "it can't be read; values of `data` are texts in base64, those of `stringData` texts";
    let cases = [
        (String::new(), "there is no ImagePush in it"),
        (
            "a: [".into(),
            "document 1: this is not YAML: did not find expected node content at line 2 column 1, while parsing a flow node",
        ),
        (
            format!("{HEAD}kind: x\n"),
            "document 1: this is not YAML: duplicate entry with key \"kind\"",
        ),
        ("- a\n".into(), "document 1: this is not an object"),
        ("kind: ImagePush\n".into(), "document 1: `apiVersion` or `kind` is missing"),
        (
            push("x", "") + "---\napiVersion: v1\nkind: ConfigMap\n",
            "document 2: `ConfigMap` of `v1` can't be applied here; \
             this can: ImagePush of imagepush.dev/v1alpha1, and Secret of v1",
        ),
        (HEAD.into(), "document 1: `metadata.name` is missing"),
        (
            format!("{HEAD}metadata: {{name: x}}\n"),
            "document 1: ImagePush `x`: `spec.destination` is missing",
        ),
        (push("x", ", tag: y"), "document 1: ImagePush `x`: unknown field `spec.source.tag`"),
        (push("x", "") + "data: 1\n", "document 1: ImagePush `x`: unknown field `data`"),
        (
            push("x", "") + "  interval: 1h\n",
            "document 1: ImagePush `x`: `spec`: `interval` must be set when `runPolicy` is 'Continuous', \
             and may not be set otherwise",
        ),
        (
            push("x", ", secretRef: {name: s}"),
            "ImagePush `x`: there is no secret `s` for it; \
             put the Secret into the same file, with the object's namespace",
        ),
        (secret("stringdata: {}"), "document 1: Secret `s`: unknown field `stringdata`"),
        (secret("data: {a: canary}"), &format!("document 1: Secret `s`: {quote}")),
        (secret("stringData: {a: 12345}"), &format!("document 1: Secret `s`: {quote}")),
        (again(secret("")), "document 3: Secret `s`: it is in the file twice"),
        (
            secret("stringData: {a: canary}"),
            "ImagePush `x`: secret `s` cannot be used: its type is `Opaque`, and that of a login has to be \
             `kubernetes.io/dockerconfigjson` or `kubernetes.io/basic-auth`; name another one, or make it anew with \
             that type",
        ),
        (
            push("x", "").replace("//r.test/a:1", "x"),
            "ImagePush `x`: parsing `docker:x`: a name in a registry starts with `//`; \
             the form is `docker://[HOST[:PORT]/]NAME[:TAG|@DIGEST]`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(&text), expected, "{text}");
    }
}

#[test]
fn a_secret_of_another_namespace_is_not_used() {
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: n}}\n---\n{}",
        push("x", ", secretRef: {name: s}")
    );
    let hint = "put the Secret into the same file, with the object's namespace";
    assert_eq!(refusal(&text), format!("ImagePush `x`: there is no secret `s` for it; {hint}"));
}

#[test]
fn files_have_a_bound() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(MAX_APPLY_FILE + 1).unwrap();
    let error = read(file.path()).unwrap_err();
    let expected = format!("`{}` is larger than 1 MiB", file.path().display());
    assert_eq!((error.kind(), error.to_string()), (Kind::LimitExceeded, expected));
}
