//! Benchmarks: our figure beside a reference's, measured in the same run, as a ratio.

use crate::TaskResult;

pub fn run(_arguments: &[&str]) -> TaskResult {
    Err("no benchmark is there yet".into())
}
