//! What the fuzz targets check, over their seeds and what chance makes of these: a smoke test for those who don't run a fuzzer.

#[path = "../../../fuzz/checks/layer.rs"]
mod layer;
#[path = "../../../fuzz/checks/normalise.rs"]
mod normalise;

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::images::random;

/// How often each seed is changed.
const CHANGES: u64 = 300;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Some bytes replaced, left out, doubled, or cut off at the end.
fn changed(seed: &[u8], chance: u64) -> Vec<u8> {
    let dice: Vec<usize> = random(chance, 64).chunks(4).map(number).collect();
    let mut bytes = seed.to_vec();
    for throw in dice.chunks_exact(3).take(1 + dice[0] % 5) {
        let at = throw[0] % bytes.len();
        match throw[1] % 4 {
            0 => bytes[at] = u8::try_from(throw[2] % 256).unwrap(),
            1 => drop(bytes.remove(at)),
            2 => {
                let end = (at + throw[2] % 64).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn run(seeds: &[Vec<u8>], check: fn(&[u8])) {
    for seed in seeds {
        check(seed);
        for chance in 1..=CHANGES {
            let bytes = changed(seed, chance);
            if let Err(cause) = std::panic::catch_unwind(|| check(&bytes)) {
                eprintln!("chance {chance}: {:?}", String::from_utf8_lossy(&bytes));
                std::panic::resume_unwind(cause);
            }
        }
    }
}

#[test]
fn texts_are_normalised_or_refused() {
    let seeds = seeds("normalise");
    assert!(seeds.len() >= 4);
    run(&seeds, normalise::check);
}

#[test]
fn layers_are_read_to_an_end() {
    let seeds = seeds("layer");
    assert!(seeds.len() >= 8);
    run(&seeds, layer::check);
}

/// Who changes one and forgets the other has Clippy build each dependency twice: `cargo update -p NAME --precise VERSION` in
/// `fuzz/` sets it right.
#[test]
fn the_fuzz_targets_have_the_versions_of_the_product() {
    let packages = |path: &str| -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let lock: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let named = |package: &toml::Value| format!("{} {}", package["name"], package["version"]);
        lock["package"].as_array().unwrap().iter().map(named).collect()
    };
    let (product, fuzz) = (packages("Cargo.lock"), packages("fuzz/Cargo.lock"));
    let own: Vec<&str> =
        fuzz.difference(&product).map(|package| package.split('"').nth(1).unwrap()).collect();
    assert_eq!(own, ["arbitrary", "imagepush-fuzz", "libfuzzer-sys"]);
}
