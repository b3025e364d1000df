#![no_main]

#[path = "../targets/journal.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    target::journal(data);
});
