//! The whole journey while servers, sandboxes, agents, disks, clocks and the network fail, by the seed: see
//! `tests/faults/seeded`. A few seeds are among the tests; this runs hundreds.

use crate::{TaskResult, finish, prerequisites, root};
use std::path::PathBuf;
use std::process::Command;

/// `[--runs N] [--first N] [--seed N] [--jobs N] [--kinds A,B] [--out DIR] [--towpath PATH]`
pub fn run(arguments: &[&str]) -> TaskResult {
    prerequisites::debian()?;
    let bin = prerequisites::python()?;
    let (towpath, rest) = split(arguments)?;
    let towpath = match towpath {
        Some(given) => std::fs::canonicalize(given).map_err(|error| format!("{given}: {error}"))?,
        None => prerequisites::towpath()?,
    };
    let out = ["--out".into(), prerequisites::target_dir().join("faults")];
    finish(
        Command::new(bin.join("python"))
            .args(["-m", "seeded.campaign"])
            .args(out)
            .args(rest)
            .current_dir(root())
            .env("PYTHONPATH", python_path()?)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("TOWPATH_BIN", towpath)
            .env("PATH", prerequisites::path_with(&bin)),
    )
}

fn python_path() -> Result<std::ffi::OsString, std::env::JoinPathsError> {
    std::env::join_paths(["tests", "tests/faults"].map(|folder: &str| -> PathBuf { root().join(folder) }))
}

/// `--towpath PATH` is ours, all else is the campaign's.
fn split<'a>(arguments: &[&'a str]) -> Result<(Option<&'a str>, Vec<&'a str>), String> {
    let (mut towpath, mut rest, mut words) = (None, Vec::new(), arguments.iter());
    while let Some(word) = words.next() {
        match *word {
            "--towpath" => towpath = Some(*words.next().ok_or("--towpath needs a path")?),
            other => rest.push(other),
        }
    }
    Ok((towpath, rest))
}
