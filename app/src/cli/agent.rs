//! `towpath agent`: the deployment agent on this host, until it is told to stop.

use super::CliError;
use crate::config;
use std::path::PathBuf;
use std::process::ExitCode;
use towpath_agent::{Config, Credentials, Stop};
use tracing_subscriber::EnvFilter;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \\\n  \
                        towpath agent --endpoint http://towpath:4566 --name web-1 --tag role=web\n\n\
                        Credentials that may register instances register this one; others must have been registered before.\n\
                        The root user's credentials, and those that are another host's, make an IAM user for this host.")]
pub struct Agent {
    /// The server's URL
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    endpoint: String,
    /// The on-premises instance that this host is
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A tag that deployment groups select by (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Where revisions are kept
    #[arg(long, default_value = towpath_agent::DEFAULT_ROOT, value_name = "DIR")]
    root_dir: PathBuf,
    /// An authority to trust besides the machine's own: a file, or the certificate itself (PEM), as
    /// `towpath ca` prints it
    #[arg(long, env = "TOWPATH_CA", value_name = "FILE|PEM")]
    ca: Option<String>,
    /// Connect there, whatever the endpoint's name leads to, as through a relay
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect_to: Option<std::net::SocketAddr>,
    /// What is logged: error, warn, info, debug
    #[arg(long, env = "TOWPATH_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag is KEY=VALUE".into()),
    }
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn credentials() -> Result<Credentials, CliError> {
    match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Credentials { access_key_id, secret_access_key, session_token: set("AWS_SESSION_TOKEN") })
        }
        _ => Err("the agent needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".into()),
    }
}

impl Agent {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let filter =
            EnvFilter::try_new(&self.log).map_err(|error| format!("--log {:?}: {error}", self.log))?;
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(terminal)
            .with_writer(std::io::stderr)
            .init();
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| config::DEFAULT_REGION.into());
        let config = Config {
            tags: self.tags,
            root_dir: self.root_dir,
            authority: self.ca,
            connect_to: self.connect_to,
            ..Config::new(self.endpoint, region, self.name, credentials()?)
        };
        towpath_agent::run(config, Stop::on_signals()?)?;
        Ok(ExitCode::SUCCESS)
    }
}
