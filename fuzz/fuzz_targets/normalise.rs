#![no_main]

#[path = "../checks/normalise.rs"]
mod normalise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| normalise::check(data));
