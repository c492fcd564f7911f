//! The `towpath` binary. Everything is wired together here and nowhere else: [`server`] joins the
//! services, [`cli`] is what a person types, over the public API like any other client.

mod backup;
mod cli;
mod client;
mod config;
mod server;
mod tls;
mod tunnel;
mod xml;

use clap::Parser;
use std::process::ExitCode;

/// A request makes some hundred small values and drops them: see `docs/decisions/0017-an-allocator-of-its-own.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A sandbox's supervisor is this executable run again: it must take over before any thread exists.
    towpath_runner::init_if_sandbox();
    let outcome = cli::Cli::parse().run();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("towpath: {error}");
            ExitCode::FAILURE
        }
    }
}
