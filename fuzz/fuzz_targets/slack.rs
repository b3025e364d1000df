#![no_main]

#[path = "../targets/slack.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    target::slack(data);
});
