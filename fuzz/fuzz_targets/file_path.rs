#![no_main]

#[path = "../targets/file_path.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    target::file_path(data);
});
