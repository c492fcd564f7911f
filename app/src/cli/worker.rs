//! `towpath worker`: this machine builds for a server elsewhere.

use super::CliError;
use crate::{config, tunnel};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use towpath_agent::trust::{self, Authority};
use towpath_codebuild::remote::worker;
use towpath_durable::Shutdown;
use towpath_runner::Runner;
use tracing_subscriber::EnvFilter;

/// A token's file has one line.
const MAX_TOKEN_BYTES: u64 = 4 << 10;

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  towpath token create worker > token        # where the server's credentials are\n  \
                        towpath worker --endpoint https://towpath:4566 --token-file token --slots 4\n\n\
                        The worker has no access to the server's state: it is given builds, one lease each, and hands over\n\
                        what they leave. A build whose worker is killed, frozen or cut off runs again elsewhere."
)]
pub struct Worker {
    /// The server's URL (repeatable: nodes over one database, of which the worker asks the first that answers)
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL", value_delimiter = ',', required = true)]
    endpoint: Vec<String>,
    /// File with the token that `towpath token create worker` printed
    #[arg(long, env = "TOWPATH_WORKER_TOKEN_FILE", value_name = "FILE")]
    token_file: PathBuf,
    /// Builds that run at the same time [default: number of processors]
    #[arg(long, env = "TOWPATH_BUILD_SLOTS", value_name = "N")]
    slots: Option<usize>,
    /// What `towpath workers` shows [default: the hostname]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Folder of builds while they run [default: /var/lib/towpath-worker as root, else
    /// ~/.local/share/towpath-worker]
    #[arg(long, env = "TOWPATH_WORKER_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Environment variable to pass into builds, besides proxies and certificates (repeatable)
    #[arg(long = "pass-env", env = "TOWPATH_PASS_ENV", value_name = "NAME", value_delimiter = ',')]
    pass_env: Vec<String>,
    /// Folder to show inside builds, copy-on-write, at the same path (repeatable)
    #[arg(long = "pass-folder", env = "TOWPATH_PASS_FOLDER", value_name = "DIR", value_delimiter = ',')]
    pass_folder: Vec<PathBuf>,
    /// First address of the /16 that sandboxes have as root [default: 10.213.0.0]
    #[arg(long, env = "TOWPATH_SANDBOX_NETWORK", value_name = "ADDRESS")]
    sandbox_network: Option<std::net::Ipv4Addr>,
    /// An authority to trust besides the machine's own: a file, or the certificate itself (PEM), as
    /// `towpath ca` prints it
    #[arg(long, env = "TOWPATH_CA", value_name = "FILE|PEM")]
    ca: Option<String>,
    /// What is logged: error, warn, info, debug
    #[arg(long, env = "TOWPATH_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

impl Worker {
    pub fn run(self) -> Result<ExitCode, CliError> {
        let filter =
            EnvFilter::try_new(&self.log).map_err(|error| format!("--log {:?}: {error}", self.log))?;
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(terminal)
            .with_writer(std::io::stderr)
            .init();
        let slots = self.slots.unwrap_or_else(config::processors);
        if slots == 0 {
            return Err("--slots must be at least 1".into());
        }
        let token = read_token(&self.token_file)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(self.build(slots, token));
        // A request that is held open must not hold the process.
        runtime.shutdown_background();
        outcome
    }

    async fn build(self, slots: usize, token: String) -> Result<ExitCode, CliError> {
        let data = self.data.unwrap_or_else(default_data);
        let mut settings = towpath_runner::Config::from_env(data.join("sandboxes"));
        settings.passthrough_env = self.pass_env;
        settings.extra_folders = self.pass_folder;
        if let Some(range) = self.sandbox_network {
            settings.network = towpath_runner::NetworkConfig { range };
        }
        let runner = Runner::new(settings)?;
        let authority = self.ca.as_deref().map(Authority::parse);
        let tls = trust::tls_config(authority.as_slice())?;
        runner.sweep().await?;
        let shutdown = Shutdown::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stopping = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("stopping; builds that run are given back");
            stopping.trigger();
        });
        let name = self.name.unwrap_or_else(hostname);
        let chosen = Arc::default();
        let tunnel = match tunnel::is_needed(&self.endpoint) {
            true => Some(tunnel::open(&self.endpoint, &tls, Arc::clone(&chosen)).await?),
            false => None,
        };
        println!("Worker {name} takes builds of {}, {slots} at a time", self.endpoint.join(", "));
        let config = worker::Config {
            endpoints: self.endpoint,
            tunnel,
            chosen,
            token,
            tls: Some(tls),
            name,
            slots,
            data_dir: data,
            sandboxes: Arc::new(runner),
        };
        worker::run(config, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    }
}

fn read_token(path: &Path) -> Result<String, CliError> {
    use std::io::Read;
    let unreadable = |error: std::io::Error| format!("--token-file {}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("--token-file {} is empty", path.display()).into());
    }
    Ok(text.to_owned())
}

/// The machine's name, in the letters that a worker's may have.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let good = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let name: String = name.trim().chars().filter(good).take(64).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

/// Beside a server's, so that both can be on one machine.
fn default_data() -> PathBuf {
    let mut data = config::state_folder();
    data.set_file_name("towpath-worker");
    data
}
