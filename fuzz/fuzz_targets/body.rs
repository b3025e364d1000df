#![no_main]

#[path = "../targets/body.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    target::body(data);
});
