//! `cargo xtask fuzz`: every target for a while, in one binary, as many at a time as there are processors.
//!
//! The binary is built as cargo-fuzz builds its own, without cargo-fuzz: that would have to be installed first, and
//! link one binary per target. `cargo fuzz run --sanitizer none TARGET` works too, where it is at hand.
//!
//! What a run finds grows in `target/fuzz-corpus`; `--keep` merges what reaches new code into `fuzz/corpus`,
//! whose files the ordinary tests replay. A crasher is written to `target/fuzz-crashers`.

use crate::{TaskResult, finish, prerequisites, root};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const DEFAULT_SECONDS: u32 = 60;
/// What a run of the tests spends on each target: enough to see that it builds, runs and bears its corpus and what is
/// near it. The same inputs every time, as far as the time goes.
pub const BRIEF: &[&str] = &["--seconds", "2", "--seed", "1"];
/// One input: longer than this is a hang, on a busy machine too.
const INPUT_SECONDS: u32 = 30;
/// Coverage counters, a table of places and comparisons, as cargo-fuzz asks for them
/// (<https://github.com/rust-fuzz/cargo-fuzz/blob/main/src/project.rs>).
const RUSTFLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// The binary of all targets, and the variable that tells it which one it is.
const BINARY: &str = "every";
const TARGET_VARIABLE: &str = "TOWPATH_FUZZ_TARGET";
const MEMORY_MEGABYTES: u32 = 1024;
/// Larger inputs find little more and make the corpus fat.
const MAX_INPUT_BYTES: u32 = 4096;

struct Options {
    seconds: u32,
    /// 0: another one each time.
    seed: u32,
    keep: bool,
    targets: Vec<String>,
}

pub fn run(arguments: &[&str]) -> TaskResult {
    let options = parse(arguments)?;
    let binary = build()?;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = options.targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = one(&binary, target, &options);
                    if let (Err(error), Ok(mut failed)) = (outcome, failed.lock()) {
                        failed.push(format!("{target}: {error}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n").into()) }
}

/// With `--target`, so that build scripts and macros are built without counters.
fn build() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let (triple, built) = (host_triple()?, prerequisites::target_dir().join("fuzz"));
    finish(
        Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"])
            .args(["--bin", BINARY, "--target", &triple, "--target-dir"])
            .arg(&built)
            .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"))
            .current_dir(root()),
    )?;
    Ok(built.join(triple).join("release").join(BINARY))
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let known = targets().map_err(|error| format!("fuzz/fuzz_targets: {error}"))?;
    let mut options = Options { seconds: DEFAULT_SECONDS, seed: 0, keep: false, targets: Vec::new() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "--keep" => options.keep = true,
            "--seconds" => {
                let value = words.next().and_then(|value| value.parse().ok());
                options.seconds = value.ok_or("--seconds takes a number")?;
            }
            "--seed" => {
                let value = words.next().and_then(|value| value.parse().ok());
                options.seed = value.ok_or("--seed takes a number")?;
            }
            target if known.iter().any(|name| name == target) => options.targets.push(target.to_owned()),
            other => return Err(format!("there is no target {other}; there are: {}", known.join(" "))),
        }
    }
    if options.targets.is_empty() {
        options.targets = known;
    }
    Ok(options)
}

fn targets() -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn host_triple() -> Result<String, Box<dyn std::error::Error>> {
    let told = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(told.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.ok_or("rustc does not tell its host")?.to_owned())
}

/// Runs one target, and merges what it found where that is asked for.
fn one(binary: &std::path::Path, target: &str, options: &Options) -> Result<(), String> {
    let kept = root().join("fuzz/corpus").join(target);
    let grown = folder("fuzz-corpus", target)?;
    let crashers = folder("fuzz-crashers", target)?;
    let log = prerequisites::target_dir().join("fuzz-corpus").join(format!("{target}.log"));
    let command = || -> Result<Command, std::io::Error> {
        let mut command = Command::new(binary);
        command
            .env(TARGET_VARIABLE, target)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?);
        // Panic messages hold the input; backtraces cost more than they tell here.
        command.env("RUST_BACKTRACE", "0").current_dir(root());
        Ok(command)
    };
    let told = |error: std::io::Error| error.to_string();
    let mut fuzzing = command().map_err(told)?;
    fuzzing.args([
        format!("-max_total_time={}", options.seconds),
        format!("-seed={}", options.seed),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-rss_limit_mb={MEMORY_MEGABYTES}"),
        format!("-max_len={MAX_INPUT_BYTES}"),
        format!("-artifact_prefix={}/", crashers.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    let status = fuzzing.args([&grown, &kept]).status().map_err(told)?;
    report(target, &log, status, &crashers)?;
    if options.keep {
        let mut merging = command().map_err(told)?;
        merging.args(["-set_cover_merge=1".to_owned(), format!("-max_len={MAX_INPUT_BYTES}")]);
        let status = merging.args([&kept, &grown]).status().map_err(told)?;
        report(target, &log, status, &crashers)?;
    }
    Ok(())
}

fn folder(kind: &str, target: &str) -> Result<PathBuf, String> {
    let path = prerequisites::target_dir().join(kind).join(target);
    std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn report(
    target: &str,
    log: &std::path::Path,
    status: ExitStatus,
    crashers: &std::path::Path,
) -> Result<(), String> {
    let text = std::fs::read(log).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&text);
    let stat = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("?")
            .trim()
            .to_owned()
    };
    if status.success() {
        let (runs, memory) = (stat("number_of_executed_units"), stat("peak_rss_mb"));
        println!("{target}: {runs} inputs, {memory} MB at most");
        return Ok(());
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let end = lines[lines.len().saturating_sub(30)..].join("\n");
    Err(format!(
        "{end}\nit ended with {status}. The input is in {}; mend the parser, and keep the input in \
         fuzz/corpus/{target}, where every test run replays it",
        crashers.display()
    ))
}
