//! Benchmarks: our figure beside a reference's, measured in the same run. The measuring itself is in
//! `examples/bench/`; this builds what is measured, installs what it is compared with, and is the load
//! generator ([`load`]), because a client in Python would be slower than the server.

mod load;

use crate::{TaskResult, finish, prerequisites, root, run as run_command};
use std::path::PathBuf;
use std::process::Command;

/// The argument that makes this program the load generator.
pub const LOAD: &str = "bench-load";

pub fn load(arguments: &[&str]) -> TaskResult {
    match arguments {
        [plan] => load::run(std::path::Path::new(plan)),
        _ => Err("usage: cargo xtask bench-load PLAN.json".into()),
    }
}

/// `[NAME…] [--towpath PATH] [--sandbox-example PATH] [--rounds N] [--json FILE]`
pub fn run(arguments: &[&str]) -> TaskResult {
    prerequisites::debian()?;
    prerequisites::references();
    let bin = prerequisites::python()?;
    let mut bench = Command::new(bin.join("python"));
    bench.arg(root().join("examples/bench/bench.py")).args(arguments);
    // One that builds for itself needs nothing that is built.
    let builds_itself =
        arguments.first() == Some(&"build") && arguments.get(1).is_none_or(|next| next.starts_with('-'));
    if !builds_itself && !arguments.iter().any(|argument| argument.starts_with("--towpath")) {
        let built = build()?;
        bench.arg("--towpath").arg(built.join("towpath"));
        bench.arg("--sandbox-example").arg(built.join("examples/bench_drive"));
        bench.arg("--agents-example").arg(built.join("examples/bench_agents"));
    }
    bench.arg("--load").arg(std::env::current_exe()?);
    finish(bench.env("PATH", prerequisites::path_with(&bin)).env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// One command for both, so that their dependencies are the same builds.
fn build() -> Result<PathBuf, Box<dyn std::error::Error>> {
    println!("building Towpath as it is released");
    let what = [
        "--package",
        "towpath",
        "--bin",
        "towpath",
        "--package",
        "towpath-runner",
        "--example",
        "bench_drive",
        "--package",
        "towpath-agent",
        "--example",
        "bench_agents",
    ];
    run_command("cargo", &[&["build", "--release", "--locked", "--quiet"], what.as_slice()].concat())?;
    Ok(prerequisites::target_dir().join("release"))
}
