//! All tests: the crates' own, then the stories that unmodified clients tell a running server.

use crate::{TaskResult, again, finish, fuzz, prerequisites, root};
use std::path::Path;
use std::process::Command;

pub fn run(arguments: &[&str]) -> TaskResult {
    prerequisites::debian()?;
    let bin = prerequisites::python()?;
    prerequisites::javascript(&bin)?;
    let whole_sdk = arguments == ["--sdk-rust"];
    build_rust_sdk(&bin, whole_sdk)?;
    // Everything in one build: apart, the binary and the tests would want dependencies with other features.
    crate::run("cargo", &["build", "--workspace", "--all-targets", "--locked", "--quiet"])?;
    if arguments.is_empty() {
        // Some crates are tested with Python's AWS clients too.
        again::cargo_test(&["--locked", "--quiet"], &bin)?;
        fuzz::run(fuzz::BRIEF)?;
    }
    let towpath = prerequisites::target_dir().join("debug/towpath");
    let filter = if whole_sdk { "test_clients_table and rust".to_owned() } else { arguments.join(" ") };
    let mut variables = vec![("TOWPATH_BIN", towpath.as_os_str())];
    if whole_sdk {
        variables.push(("TOWPATH_SDK_RUST", "all".as_ref()));
    }
    again::pytest(&bin, &["tests", "-k", &filter], &variables)
}

/// The AWS SDK for Rust with its calls from the scenario table: a workspace of its own, for its crates are large.
/// Two services' crates are left out unless all are asked for.
fn build_rust_sdk(python: &Path, whole: bool) -> TaskResult {
    let target = root().join("target/sdk-rust");
    std::fs::create_dir_all(&target)?;
    let steps = target.join("steps.rs");
    finish(
        Command::new(python.join("python")).arg("tests/sdk/rust/generate.py").arg(&steps).current_dir(root()),
    )?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--quiet", "--manifest-path", "tests/sdk/rust/Cargo.toml"]);
    cargo.arg("--target-dir").arg(&target).env("TOWPATH_STEPS", &steps).current_dir(root());
    if whole {
        cargo.args(["--features", "all"]);
    }
    finish(&mut cargo)
}
