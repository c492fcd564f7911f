//! What the fuzzers call: one function of bytes per thing that strangers' bytes reach.
//!
//! `fuzz/` has one libFuzzer binary per entry of [`TARGETS`]; the test `replay` sends every file of
//! `fuzz/corpus` through the same functions on every run of the ordinary tests. A function panics where a
//! parser panics, overflows, loops, or breaks a promise that is written out here as an assertion.
//!
//! Parsers that are private to a service are compiled in by their path, so that neither the fuzzers' build
//! needs the whole product nor the service an API for tests.

#![allow(clippy::expect_used)]

mod archives;
mod codecs;
mod documents;
mod gitwire;
mod patterns;
mod requests;

/// Where `filters.rs` expects its types.
#[path = "../../../services/codepipeline/src/structure/patterns.rs"]
#[allow(dead_code)]
mod structure;

/// One thing to fuzz, by the name of its binary and corpus.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("json", codecs::json),
    ("cbor", codecs::cbor),
    ("query", codecs::query),
    ("rest", codecs::rest),
    ("typed", codecs::typed),
    ("sigv4", requests::sigv4),
    ("chunked", requests::chunked),
    ("route", requests::route),
    ("yaml", documents::yaml),
    ("buildspec", documents::buildspec),
    ("appspec", documents::appspec),
    ("junit", documents::junit),
    ("zip", archives::zip),
    ("tar", archives::tar),
    ("event_pattern", patterns::event),
    ("log_filter", patterns::log_filter),
    ("trigger_glob", patterns::trigger_glob),
    ("policy", patterns::policy),
    ("git", gitwire::git),
];

/// Runs one target by name.
pub fn run(name: &str, data: &[u8]) {
    match TARGETS.iter().find(|(target, _)| *target == name) {
        Some((_, function)) => function(data),
        None => panic!("there is no fuzz target {name}"),
    }
}

/// A text's parts between zero bytes; `None` unless it is text and there are as many as asked for.
fn parts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let text = std::str::from_utf8(data).ok()?;
    text.splitn(N, '\0').collect::<Vec<_>>().try_into().ok()
}
