//! All tests: the crates' own, then the stories that unmodified clients tell a running server.

use crate::{TaskResult, again, finish, fuzz, prerequisites, root};
use std::path::Path;
use std::process::Command;

pub fn run(arguments: &[&str]) -> TaskResult {
    prerequisites::debian()?;
    let bin = prerequisites::python()?;
    prerequisites::javascript(&bin)?;
    build_rust_sdk(&bin)?;
    // Everything in one build: apart, the binary and the tests would want dependencies with other features.
    crate::run("cargo", &["build", "--workspace", "--all-targets", "--locked", "--quiet"])?;
    if arguments.is_empty() {
        // Some crates are tested with Python's AWS clients too.
        again::cargo_test(&["--locked", "--quiet"], &bin)?;
        fuzz::run(fuzz::BRIEF)?;
    }
    let towpath = prerequisites::target_dir().join("debug/towpath");
    again::pytest(&bin, &["tests", "-k", &arguments.join(" ")], &[("TOWPATH_BIN", towpath.as_os_str())])
}

/// The AWS SDK for Rust with its calls from the scenario table: a workspace of its own, for its crates are large.
fn build_rust_sdk(python: &Path) -> TaskResult {
    let target = root().join("target/sdk-rust");
    std::fs::create_dir_all(&target)?;
    let steps = target.join("steps.rs");
    finish(
        Command::new(python.join("python")).arg("tests/sdk/rust/generate.py").arg(&steps).current_dir(root()),
    )?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--quiet", "--manifest-path", "tests/sdk/rust/Cargo.toml"]);
    cargo.arg("--target-dir").arg(&target).env("TOWPATH_STEPS", &steps).current_dir(root());
    finish(&mut cargo)
}
