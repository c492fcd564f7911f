//! Towpath's development tasks: `cargo xtask <task>`.

mod again;
mod bench;
mod codegen;
mod coverage;
mod faults;
mod fuzz;
mod journey;
mod models;
mod prerequisites;
mod suite;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
Usage: cargo xtask <task>

  journey [--keep]  build Towpath and take a real project from `git push` to two hosts
  test [FILTER]     every test: Rust, then the stories with unmodified clients (FILTER: pytest's -k);
                    up to three that failed are run once more, and named as flaky when they pass then
  check             format, lints, house rules, generated files, licences: what CI runs before the tests
  bench [NAME]      our figures beside a reference's, measured in the same run: journey, sandbox, api,
                    start, growth, scale, agents, git, retention, build (--towpath PATH: this binary instead
                    of a release build; --json FILE)
  faults            200 seeded runs of the whole journey while things die, fill up, jump and get lost
                    (--runs N, --first N, --seed N, --jobs N, --kinds A,B, --towpath PATH)
  fuzz [TARGET]     every fuzz target, or one, for a minute each (--seconds N; --seed N; --keep: merge what was
                    found into fuzz/corpus)
  codegen           regenerate platform/api/gen from models/ (--check: fail on any difference)
  coverage          regenerate docs/coverage.md (--check: fail on any difference)
  tidy              the house rules alone
  models DIR        strip the service models of an unpacked botocore wheel in DIR into models/

Everything installs what it needs: Debian packages as root (or by sudo), Python packages into target/.
";

/// What a task fails with: a sentence for the person at the terminal.
pub type TaskResult = Result<(), Box<dyn std::error::Error>>;

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Runs a command in the workspace's root, its output shown; fails unless it succeeds.
pub fn run(program: &str, arguments: &[&str]) -> TaskResult {
    finish(Command::new(program).args(arguments).current_dir(root()))
}

pub fn finish(command: &mut Command) -> TaskResult {
    let shown = format!("{command:?}");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown} failed: {status}").into()) }
}

fn check() -> TaskResult {
    run("cargo", &["fmt", "--all", "--check"])?;
    tidy::run()?;
    codegen::run(codegen::Mode::Check)?;
    coverage::run(codegen::Mode::Check)?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"])?;
    prerequisites::deny()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["journey", rest @ ..] => journey::run(rest),
        ["test", rest @ ..] => suite::run(rest),
        ["check"] => check(),
        ["bench", rest @ ..] => bench::run(rest),
        ["faults", rest @ ..] => faults::run(rest),
        [bench::LOAD, rest @ ..] => bench::load(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["codegen"] => codegen::run(codegen::Mode::Write),
        ["codegen", "--check"] => codegen::run(codegen::Mode::Check),
        ["coverage"] => coverage::run(codegen::Mode::Write),
        ["coverage", "--check"] => coverage::run(codegen::Mode::Check),
        ["tidy"] => tidy::run(),
        ["models", folder] => models::strip_all(Path::new(folder)),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
