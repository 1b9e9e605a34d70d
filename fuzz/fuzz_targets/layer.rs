#![no_main]

#[path = "../checks/layer.rs"]
mod layer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| layer::check(data));
