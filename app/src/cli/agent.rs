//! `towpath agent`: the deployment agent on this host, until it is told to stop.

use super::CliError;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \\\n  \
                        towpath agent --endpoint http://towpath:4566 --name web-1 --tag role=web\n\n\
                        Credentials that may register instances register this one; others must have been registered before.")]
pub struct Agent {
    /// The server's URL
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    endpoint: String,
    /// The on-premises instance that this host is
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A tag that deployment groups select by (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
    /// Where revisions are kept
    #[arg(long, default_value = "/opt/codedeploy-agent/deployment-root", value_name = "DIR")]
    root_dir: PathBuf,
    /// What is logged: error, warn, info, debug
    #[arg(long, env = "TOWPATH_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}
