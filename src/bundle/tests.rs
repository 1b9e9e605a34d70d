use serde_json::{Value, json};

use super::*;

fn file(name: &str, content: &str) -> File {
    File { name: name.into(), content: content.into() }
}

fn bundle(files: &[File]) -> Bundle {
    Bundle::of_files(files).unwrap().unwrap()
}

fn fault(files: &[File]) -> String {
    Bundle::of_files(files).unwrap_err().to_string()
}

const THING: &str = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n";

#[test]
fn the_same_objects_have_the_same_digest() {
    let other = "apiVersion: example.com/v1\nkind: Thing\nmetadata:\n  name: b\nspec: {on: yes, count: 010}\n";
    let json = json!({
        "kind": "List", "apiVersion": "v1",
        "items": [
            {
                "spec": {"true": true, "count": 8.0}, "kind": "Thing", "apiVersion": "example.com/v1",
                "metadata": {"name": "b", "uid": "x", "creationTimestamp": null}, "status": {},
            },
            {"kind": "Thing", "apiVersion": "example.com/v1", "metadata": {"name": "a"}},
        ],
    });
    let one = bundle(&[file("a.yaml", &format!("---\n{THING}---\n{other}"))]);
    let two = bundle(&[file("a.yaml", other), file("b.yml", THING)]);
    let three = bundle(&[file("a.json", &json.to_string())]);
    assert_eq!((one.yaml(), one.digest()), (two.yaml(), two.digest()));
    assert_eq!(one, three);
    assert_eq!(one.digest(), &Digest::of(one.yaml().as_bytes()));
    let expected = "---\napiVersion: \"example.com/v1\"\nkind: \"Thing\"\nmetadata:\n  name: \"a\"\n\
        ---\napiVersion: \"example.com/v1\"\nkind: \"Thing\"\nmetadata:\n  name: \"b\"\nspec:\n  count: 8\n  \"true\": true\n";
    assert_eq!(one.yaml(), expected);
}

#[test]
fn files_without_objects_are_no_bundle() {
    assert_eq!(Bundle::of_files(&[]).unwrap(), None);
    assert_eq!(Bundle::of_files(&[file("a.yaml", "# nothing\n---\n")]).unwrap(), None);
    assert!(Bundle::parse(b"").unwrap_err().to_string().contains("has no objects"));
}

#[test]
fn faults_name_the_file() {
    let invalid = [
        (vec![file("a.yaml", "a: [")], "reading `a.yaml`: line "),
        (vec![file("a.yaml", "a: 1")], "reading `a.yaml`: an object has no `kind`"),
        (vec![file("a.json", "{\"a\": 1, \"a\": 2}")], "reading `a.json`: key `a` occurs twice"),
        (vec![file("a.json", &"[".repeat(1000))], "reading `a.json`: "),
        (
            vec![file("a.yaml", THING), file("b.yaml", THING)],
            "object `example.com/v1 Thing a` occurs twice",
        ),
        (
            vec![file("a.yaml", THING), file("b.yaml", &THING.replace("/v1", "/v2"))],
            "object `example.com/v2 Thing a` occurs twice",
        ),
    ];
    for (files, message) in invalid {
        let fault = fault(&files);
        assert!(fault.starts_with(message), "{fault}");
    }
    let not_text = File { name: "a.yaml".into(), content: vec![0xff, 0xfe] };
    assert_eq!(fault(&[not_text]), "reading `a.yaml`: it is not UTF-8");
}

/// Whatever it came from, what is written is read as one text: where that would not be possible, it is no bundle.
#[test]
fn every_bundle_can_be_read_again() {
    let thing = |name: &str, key: &str, items: usize| {
        let list = vec!["0"; items].join(",");
        let text = format!(
            "{{\"apiVersion\":\"a.b/v1\",\"kind\":\"T\",\"metadata\":{{\"name\":\"{name}\"}},\"spec\":{{\"{key}\":[{list}]}}}}"
        );
        file(&format!("{name}.json"), &text)
    };
    let long = "k".repeat(MAX_BUNDLE_KEY + 1);
    assert!(fault(&[thing("a", &long, 1)]).contains("has a key of more than"));
    let four = |items: usize| ["a", "b", "c", "d"].map(|name| thing(name, "k", items));
    let quarter = MAX_BUNDLE_NODES / 4;
    assert!(fault(&four(quarter)).contains("keys and values"));
    // With the keys and values around them, these are as many as there may be.
    for files in [vec![thing("a", &long[1..], 1)], four(quarter - 13).to_vec()] {
        let bundle = Bundle::of_files(&files).unwrap().unwrap();
        assert_eq!(Bundle::parse(bundle.yaml().as_bytes()).unwrap().digest(), bundle.digest());
    }
}

#[test]
fn limits_hold_to_the_last_one() {
    let thing = |n: usize, text: &str| {
        format!("---\napiVersion: a.b/v1\nkind: T\nmetadata: {{name: n{n}}}\nspec: \"{text}\"\n")
    };
    let many = |count| (0..count).map(|n| thing(n, "")).collect::<String>();
    assert_eq!(bundle(&[file("a.yaml", &many(512))]).objects().len(), 512);
    let fault_of_many = "reading `a.yaml`: the bundle has more than the limit of 512 objects";
    assert_eq!(fault(&[file("a.yaml", &many(10_000))]), fault_of_many);
    let head = bundle(&[file("a.yaml", &thing(0, ""))]).yaml().len();
    let largest = "x".repeat(MAX_BUNDLE_OBJECT - head);
    assert_eq!(bundle(&[file("a.yaml", &thing(0, &largest))]).yaml().len(), MAX_BUNDLE_OBJECT);
    let larger = fault(&[file("a.yaml", &thing(0, &format!("{largest}x")))]);
    assert_eq!(larger, "`a.b/v1 T n0` has more than the limit of 1048576 bytes");
    let files: Vec<File> = (0..5).map(|n| file("a.yaml", &thing(n, &largest))).collect();
    assert_eq!(fault(&files), "the bundle has more than the limit of 4194304 bytes");
    let whole = fault(&[file("a.yaml", &" ".repeat(MAX_BUNDLE + 1))]);
    assert_eq!(whole, "reading `a.yaml`: the bundle has more than the limit of 4194304 bytes");
    // Quotes and escapes may make it longer than it was written.
    let control = fault(&[file("a.yaml", &thing(0, &"\u{ad}".repeat(300_000)))]);
    assert_eq!(control, "`a.b/v1 T n0` has more than the limit of 1048576 bytes");
}

// === Properties, over values that a seed makes ===

/// Numbers that are random but for their seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn text(&mut self) -> String {
        const PARTS: [&str; 32] = [
            "yes",
            "no",
            "on",
            "~",
            "null",
            "12",
            "012",
            "1e3",
            "0x1f",
            "1_0",
            ".5",
            "-",
            ": ",
            " #",
            "\n",
            "\t",
            "'",
            "\"",
            "\\",
            "{",
            "[",
            "&a",
            "*a",
            "!t",
            "<<",
            "---",
            "é",
            "\u{85}",
            "\u{2028}",
            "\u{1f600}",
            "\u{feff}",
            "plain",
        ];
        let parts = self.below(4);
        (0..parts).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(1 << 30)),
            3 => json!(f64::from(u32::try_from(self.below(1 << 20)).unwrap()) / 64.0 - 5000.0),
            4 => json!(f64::from_bits(self.0)).as_f64().filter(|it| it.is_finite()).into(),
            5 => json!(self.text()),
            6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let entries = (0..self.below(5)).map(|_| (self.text(), self.value(depth - 1)));
                Value::Object(entries.collect())
            }
        }
    }

    fn objects(&mut self) -> Vec<Value> {
        let count = self.below(5) + 1;
        let object = |n| {
            json!({
                "apiVersion": "example.com/v1", "kind": "Thing", "spec": self.value(4),
                "metadata": {"name": format!("n{n}"), "annotations": {self.text(): self.text()}},
            })
        };
        (0..count).map(object).collect()
    }
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

#[test]
fn normalising_is_idempotent_and_knows_no_order_and_no_style() {
    for seed in 1..400 {
        let mut random = Random(seed * 0x9e37_79b9);
        let objects = random.objects();
        let bundle = bundle(&[file("a.json", &list(&objects))]);
        let again = Bundle::parse(bundle.yaml().as_bytes())
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", bundle.yaml()));
        assert_eq!(again, bundle, "seed {seed}");

        let reversed: Vec<Value> = objects.iter().rev().cloned().collect();
        assert_eq!(self::bundle(&[file("a.json", &list(&reversed))]), bundle, "seed {seed}");
        let apart = |(n, object): (usize, &Value)| file(&format!("{n}.json"), &object.to_string());
        let apart: Vec<File> = objects.iter().enumerate().map(apart).collect();
        assert_eq!(self::bundle(&apart), bundle, "seed {seed}");
        // Another writer's style: as serde-saphyr writes YAML.
        let styled = |object: &Value| file("a.yaml", &serde_saphyr::to_string(object).unwrap());
        let styled: Vec<File> = objects.iter().map(styled).collect();
        if styled.iter().all(|file| {
            !file.content.windows(2).any(|it| it == [0xc2, 0x85])
                && !String::from_utf8_lossy(&file.content).contains('\u{2028}')
        }) {
            assert_eq!(self::bundle(&styled), bundle, "seed {seed}");
        }
    }
}

/// Whatever the bytes are: an answer, within bounds.
#[test]
fn broken_texts_and_layers_break_nothing() {
    let whole = format!("{THING}spec: &x {{a: [1, 'b', \"c\\n\"], d: |\n  e\n}}\nf: *x\n<<: *x\n");
    for seed in 1..600 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"{}[]:&*!|>'\"\n #-?,%@`"[random.below(21)]),
            }
        }
        if let Ok(bundle) = Bundle::parse(&bytes) {
            assert_eq!(Bundle::parse(bundle.yaml().as_bytes()).unwrap(), bundle, "seed {seed}");
        }
        let mut reader = LayerReader::new(Folder::default());
        reader.feed(&bytes);
        drop(reader.finish());
    }
}
