//! All tests: the crates' own, then the stories that unmodified clients tell a running server.

use crate::{TaskResult, finish, fuzz, prerequisites, root};
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
        run_rust(&bin)?;
        fuzz::run(fuzz::BRIEF)?;
    }
    let towpath = prerequisites::target_dir().join("debug/towpath");
    let mut pytest = Command::new(bin.join("python"));
    pytest.args(["-m", "pytest", "-p", "no:cacheprovider", "tests"]);
    if whole_sdk {
        pytest.args(["-k", "test_clients_table and rust"]).env("TOWPATH_SDK_RUST", "all");
    } else if !arguments.is_empty() {
        pytest.args(["-k", &arguments.join(" ")]);
    }
    finish(pytest.current_dir(root()).env("TOWPATH_BIN", towpath).env("PATH", prerequisites::path_with(&bin)))
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

/// Some crates are tested with Python's AWS clients too.
fn run_rust(python: &Path) -> TaskResult {
    finish(
        Command::new("cargo")
            .args(["test", "--workspace", "--locked", "--quiet", "--no-fail-fast"])
            .current_dir(root())
            .env("PATH", prerequisites::path_with(python)),
    )
}
