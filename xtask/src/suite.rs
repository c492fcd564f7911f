//! All tests: the crates' own, then the stories that unmodified clients tell a running server.

use crate::{TaskResult, finish, prerequisites, root};
use std::path::Path;
use std::process::Command;

pub fn run(arguments: &[&str]) -> TaskResult {
    prerequisites::debian()?;
    let bin = prerequisites::python()?;
    prerequisites::javascript(&bin)?;
    // Everything in one build: apart, the binary and the tests would want dependencies with other features.
    crate::run("cargo", &["build", "--workspace", "--all-targets", "--locked", "--quiet"])?;
    if arguments.is_empty() {
        run_rust(&bin)?;
    }
    let towpath = prerequisites::target_dir().join("debug/towpath");
    let mut pytest = Command::new(bin.join("python"));
    pytest.args(["-m", "pytest", "-p", "no:cacheprovider", "tests"]);
    if !arguments.is_empty() {
        pytest.args(["-k", &arguments.join(" ")]);
    }
    finish(pytest.current_dir(root()).env("TOWPATH_BIN", towpath).env("PATH", prerequisites::path_with(&bin)))
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
