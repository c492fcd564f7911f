//! Runs failed tests once more, when they are few.
//!
//! The stories start real servers, kill them and wait for what follows; on a machine that does other work too, one
//! of two thousand may miss its time. Such a test must not hold everybody up, nor go unseen: what fails twice
//! fails, what passes the second time is named at the end as flaky, with its first failure in the output above, and
//! is a defect to mend. More than [`AT_MOST`] failures are no accident, and are not run again.

use crate::{TaskResult, prerequisites, root};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const AT_MOST: usize = 3;
/// pytest's exit code for tests that failed; any other says that it could not do its work.
const TESTS_FAILED: i32 = 1;

/// `cargo test` of the whole workspace; a target that failed is run again whole.
pub fn cargo_test(arguments: &[&str], python: &Path) -> TaskResult {
    let path = prerequisites::path_with(python);
    let mut first = Command::new("cargo");
    first
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(arguments)
        .env("PATH", &path)
        .current_dir(root());
    let mut child = first.stderr(Stdio::piped()).spawn()?;
    let mut failed = Vec::new();
    for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line?;
        eprintln!("{line}");
        failed.extend(failed_target(&line));
    }
    if child.wait()?.success() {
        return Ok(());
    }
    if failed.is_empty() || failed.len() > AT_MOST {
        return Err(format!("cargo test failed; {} targets", failed.len()).into());
    }
    for target in &failed {
        eprintln!("xtask: {target} failed; once more");
        let mut again = Command::new("cargo");
        again.arg("test").args(arguments).args(target.split(' ')).env("PATH", &path).current_dir(root());
        crate::finish(&mut again)?;
    }
    for target in &failed {
        eprintln!("xtask: FLAKY: {target} failed once and passed when it was run again: mend it");
    }
    Ok(())
}

/// What cargo says of a failed target: "error: test failed, to rerun pass `-p towpath-runner --test hosts`".
fn failed_target(line: &str) -> Option<String> {
    let rest = line.split_once("test failed, to rerun pass `")?.1;
    Some(rest.strip_suffix('`')?.to_owned())
}

/// pytest with these arguments; tests that failed are run again.
pub fn pytest(python: &Path, arguments: &[&str], variables: &[(&str, &std::ffi::OsStr)]) -> TaskResult {
    let cache = prerequisites::target_dir().join("pytest");
    if cache.exists() {
        std::fs::remove_dir_all(&cache)?;
    }
    let run = |more: &[&str]| {
        let mut command = Command::new(python.join("python"));
        command.args(["-m", "pytest", "-o"]).arg(format!("cache_dir={}", cache.display()));
        command.args(arguments).args(more).envs(variables.iter().copied());
        command.env("PATH", prerequisites::path_with(python)).current_dir(root()).status()
    };
    let status = run(&[])?;
    if status.success() {
        return Ok(());
    }
    let failed = last_failed(&cache);
    if status.code() != Some(TESTS_FAILED) || failed.is_empty() || failed.len() > AT_MOST {
        return Err(format!("pytest failed: {status}; {} tests", failed.len()).into());
    }
    eprintln!("xtask: {} failed; once more", failed.join(", "));
    let status = run(&["--last-failed"])?;
    if !status.success() {
        return Err(format!("pytest failed: {status}, for the second time").into());
    }
    for test in failed {
        eprintln!("xtask: FLAKY: {test} failed once and passed when it was run again: mend it");
    }
    Ok(())
}

/// The tests that pytest's cache names as failed, by their node IDs.
fn last_failed(cache: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read(cache.join("v/cache/lastfailed")) else { return Vec::new() };
    let tests: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text).unwrap_or_default();
    tests.into_iter().map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_failed_target_is_read_from_cargo_s_line() {
        let line = "error: test failed, to rerun pass `-p towpath-runner --test hosts`";
        assert_eq!(super::failed_target(line).as_deref(), Some("-p towpath-runner --test hosts"));
        assert_eq!(super::failed_target("error: could not compile `x`"), None);
    }
}
