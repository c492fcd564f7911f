#![no_main]
//! All targets in one binary: TOWPATH_FUZZ_TARGET says which one a process is.

use std::sync::OnceLock;

static TARGET: OnceLock<String> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| std::env::var("TOWPATH_FUZZ_TARGET").unwrap_or_default());
    towpath_fuzz::run(target, data)
});
