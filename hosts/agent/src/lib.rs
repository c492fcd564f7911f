//! The deployment agent: carries out a host's part of deployments.
//!
//! It registers its host, then acts in one loop: poll for a host command, carry it out, report it. A command
//! is one life-cycle event of one deployment: fetch a revision (`bundle`), install its files
//! (`install`), run its scripts (`hooks`). The protocol is that of AWS's own agent
//! (<https://github.com/aws/aws-codedeploy-agent>); so is the layout on disk (`layout`).
//!
//! State: everything below [`Config::root_dir`], for one agent at a time (a lock file sees to it). The
//! command at hand is in the `journal`, which is what makes it safe to kill the agent at any
//! moment: begun work is never run twice, and no result is lost.
//!
//! Credentials stay in the `client`: no script and no log gets them. An access key that was made for this
//! host is kept in a file of the agent's own (`identity`).
//!
//! [`appspec`] reads AppSpec files, and is of use to whoever wants to check one.

mod agent;
pub mod appspec;
mod backoff;
mod bundle;
mod client;
mod control;
mod diagnostics;
mod hooks;
mod identity;
mod install;
mod journal;
mod layout;
mod reach;
mod register;
mod spec;
mod stop;
pub mod trust;
mod work;
mod work_error;

pub use agent::run;
pub use stop::Stop;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// AWS's agent keeps its deployments here.
pub const DEFAULT_ROOT: &str = "/opt/codedeploy-agent/deployment-root";

#[derive(Clone)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

/// Never the secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "Credentials({})", self.access_key_id)
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    /// The server's URL, without a path.
    pub endpoint: String,
    pub region: String,
    /// The on-premises instance that this host is.
    pub name: String,
    pub tags: Vec<(String, String)>,
    pub credentials: Credentials,
    pub root_dir: PathBuf,
    /// Revisions kept for each deployment group.
    pub keep_revisions: usize,
    /// How long a running script may go on when the agent is to stop.
    pub stop_grace: Duration,
    /// How often the server hears that a command is still being worked on.
    pub heartbeat: Duration,
    /// An authority whose certificates are trusted besides those that the machine trusts: a file, or PEM.
    pub authority: Option<String>,
    /// Where the server is reached, when that is not where the endpoint's name leads.
    pub connect_to: Option<SocketAddr>,
}

impl Config {
    pub fn new(
        endpoint: impl Into<String>,
        region: impl Into<String>,
        name: impl Into<String>,
        credentials: Credentials,
    ) -> Config {
        Config {
            endpoint: endpoint.into(),
            region: region.into(),
            name: name.into(),
            tags: Vec::new(),
            credentials,
            root_dir: PathBuf::from(DEFAULT_ROOT),
            keep_revisions: 5,
            stop_grace: Duration::from_secs(10),
            heartbeat: Duration::from_secs(20),
            authority: None,
            connect_to: None,
        }
    }
}

/// Why an agent cannot start. Once it works, it goes on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the endpoint {0:?} cannot be used: {1}")]
    Endpoint(String, String),
    #[error(transparent)]
    Trust(#[from] trust::TrustError),
    #[error("{path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("another agent works in {0}; stop it, or give this one a folder of its own with --root-dir")]
    Busy(PathBuf),
    #[error(
        "the instance name {0} is registered for {1}, but these credentials are {2}; use another --name, or deregister the other instance first (aws deploy deregister-on-premises-instance --instance-name {0})"
    )]
    NameTaken(String, String, String),
    #[error(
        "the on-premises instance {name} is registered already, for {arn}; use another --name, or deregister that one first: aws deploy deregister-on-premises-instance --instance-name {name}"
    )]
    NameInUse { name: String, arn: String },
    #[error(
        "{0} is the identity of another on-premises instance, and each needs its own; give {1} one of its own"
    )]
    IdentityInUse(String, String),
    #[error(
        "{name} is not registered for {arn}, and these credentials may not register it ({reason}); register it with credentials that may: aws deploy register-on-premises-instance --instance-name {name} --iam-user-arn {arn}"
    )]
    NotRegistered { name: String, arn: String, reason: String },
    #[error("the server refused to register {name}: {reason}")]
    Refused { name: String, reason: String },
}
