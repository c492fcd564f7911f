//! `towpath up`: the server with everything in it.

use super::CliError;
use super::output::bold;
use crate::config::{Config, Settings};
use crate::server::{self, Cluster};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  towpath up\n  towpath up --listen 127.0.0.1:5000 --data ./state\n  \
                        towpath up --config /etc/towpath.toml\n\nThe configuration file has the same names:\n  \
                        listen = \"127.0.0.1:4566\"\n  region = \"eu-central-1\"\n  pass-env = [\"NPM_TOKEN\"]\n\n\
                        Root credentials come from TOWPATH_ROOT_ACCESS_KEY_ID and TOWPATH_ROOT_SECRET_ACCESS_KEY;\n\
                        without them they are made once and kept, readable by you alone, in the data folder.")]
pub struct Up {
    #[command(flatten)]
    settings: Settings,
    /// Configuration file (TOML)
    #[arg(long, env = "TOWPATH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Up {
    pub fn config(self) -> Result<Config, CliError> {
        Ok(Config::load(self.settings, self.config.as_deref())?)
    }

    pub fn run(self) -> Result<ExitCode, CliError> {
        let config = self.config()?;
        Cluster::refuse(&config)?;
        serve(config, None, print_welcome)
    }
}

/// Runs a server until it is told to stop.
pub fn serve(
    config: Config,
    cluster: Option<Cluster>,
    welcome: impl FnOnce(&server::Running),
) -> Result<ExitCode, CliError> {
    // The S3 library logs every client's mistake as an error; our own log of S3 says what matters.
    let filter = EnvFilter::try_new(format!("s3s=off,{}", config.log))
        .map_err(|error| format!("log {:?}: {error}", config.log))?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal);
    log.with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = server::start(config, cluster).await?;
        welcome(&running);
        running.wait().await
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn print_welcome(running: &server::Running) {
    let data = running.data.display();
    println!("{} is ready on {}", bold("Towpath"), bold(&running.endpoint));
    println!("  state     {data}");
    println!(
        "  identity  account {}, region {}; root key {}",
        running.account, running.region, running.root_key
    );
    println!("  use it    eval \"$(towpath env --data {data})\"");
    println!("  stop it   Ctrl-C");
}
