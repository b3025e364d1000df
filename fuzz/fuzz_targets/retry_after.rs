#![no_main]

#[path = "../targets/retry_after.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    target::retry_after(data);
});
