//! What a person types. Each subcommand is one file; all but `up`, `server`, `worker`, `agent`, `host`, `backup`
//! and `restore` are clients of the public API.

mod agent;
mod approval;
mod backup;
mod ca;
mod env;
mod events;
mod host;
mod logs;
mod output;
mod profile;
mod retry;
mod server;
mod status;
mod up;
mod worker;
mod workers;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What a command fails with: a sentence for the person at the terminal.
pub type CliError = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(
    name = "towpath",
    version,
    about = "A self-hosted DevOps platform that speaks AWS's developer APIs",
    long_about = "Git hosting, builds, pipelines, deployments and artifacts on your own machines, through the public \
                  APIs and file formats of AWS's developer tools: git, the aws CLI, boto3, buildspec.yml and \
                  appspec.yml work as they are.",
    after_help = "Examples:\n  towpath up                             start everything on 127.0.0.1:4566\n  \
                  eval \"$(towpath env)\"                  point the aws CLI and boto3 at it\n  \
                  towpath host run web-1 --tag role=web  a deployment target in milliseconds\n  \
                  towpath status                         what every pipeline is doing\n  \
                  towpath logs -f BUILD                  follow a build's log"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server with everything in it
    Up(up::Up),
    /// Start one node of several that share a database and an object store
    Server(server::Server),
    /// Print a shell's exports that point AWS tools at the server
    Env(env::Env),
    /// Print the certificate of the server's own authority, for clients to trust
    Ca(ca::Ca),
    /// Write an AWS profile that points at the server
    Profile(profile::Profile),
    /// Run the deployment agent on this host
    Agent(agent::Agent),
    /// Build on this machine for a server elsewhere
    Worker(worker::Worker),
    /// List the machines that build, and what they run
    Workers(workers::Workers),
    /// Make, list and revoke workers' tokens
    Token(workers::Token),
    /// Isolated machines in milliseconds, with an agent inside
    Host(host::Host),
    /// Show pipelines, their stages and what they wait for
    Status(status::Status),
    /// Print a build's log; -f follows it while it runs
    Logs(logs::Logs),
    /// Approve what a pipeline's manual approval waits for
    Approve(approval::Approve),
    /// Reject what a pipeline's manual approval waits for
    Reject(approval::Reject),
    /// Run a failed stage again
    Retry(retry::Retry),
    /// Write everything of a data folder into one file, also while its server runs
    Backup(backup::Backup),
    /// Make a new data folder from a backup
    Restore(backup::Restore),
    /// List the events of everything that happened
    Events(events::Events),
}

impl Cli {
    pub fn run(self) -> Result<ExitCode, CliError> {
        match self.command {
            Command::Up(command) => command.run(),
            Command::Server(command) => command.run(),
            Command::Env(command) => command.run(),
            Command::Ca(command) => command.run(),
            Command::Profile(command) => command.run(),
            Command::Agent(command) => command.run(),
            Command::Worker(command) => command.run(),
            Command::Workers(command) => command.run(),
            Command::Token(command) => command.run(),
            Command::Host(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Logs(command) => command.run(),
            Command::Approve(command) => command.run(),
            Command::Reject(command) => command.run(),
            Command::Retry(command) => command.run(),
            Command::Backup(command) => command.run(),
            Command::Restore(command) => command.run(),
            Command::Events(command) => command.run(),
        }
    }
}
