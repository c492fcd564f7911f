//! The main job, end to end: see `examples/journey/journey.py`.

use crate::{TaskResult, finish, prerequisites, root};
use std::process::Command;

pub fn run(arguments: &[&str]) -> TaskResult {
    if let Some(unknown) = arguments.iter().find(|argument| !matches!(**argument, "--keep")) {
        return Err(format!("unknown argument {unknown}; usage: cargo xtask journey [--keep]").into());
    }
    prerequisites::debian()?;
    let bin = prerequisites::python()?;
    let towpath = prerequisites::towpath()?;
    finish(
        Command::new(bin.join("python"))
            .arg(root().join("examples/journey/journey.py"))
            .arg("--towpath")
            .arg(towpath)
            .arg("--work")
            .arg(root().join("target/journey"))
            .args(arguments)
            .env("PATH", prerequisites::path_with(&bin)),
    )
}
