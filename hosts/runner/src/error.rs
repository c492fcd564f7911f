//! What can go wrong with a sandbox, in terms an operator can act on.

use std::io;
use std::path::PathBuf;

/// Every failure of this crate. `Spawn` alone means "your command never ran"; a command that ran and
/// failed is an [`crate::ExitStatus`].
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The sandbox could not be set up; `step` names what was being done.
    #[error("sandbox {id}: {step}: {detail}")]
    Setup { id: String, step: String, detail: String },
    /// This machine lacks something; the text says what, and what to install or permit.
    #[error("{what} is not available: {remedy}")]
    Unavailable { what: String, remedy: String },
    /// The specification contradicts itself or asks for what no sandbox gives.
    #[error("invalid sandbox specification: {0}")]
    Invalid(String),
    /// The command could not be started inside (not found, not executable, no such user or folder).
    #[error("cannot run {program:?} in the sandbox: {detail}")]
    Spawn { program: String, detail: String },
    /// The sandbox is gone: killed, timed out, or its supervisor died.
    #[error("sandbox {id} has ended: {reason}")]
    Ended { id: String, reason: String },
    /// No host of this name is running under the state directory.
    #[error("no host named {0:?} is running")]
    NoSuchHost(String),
    /// A host of this name is running already.
    #[error("a host named {0:?} is running already")]
    HostExists(String),
    /// A file outside the sandbox.
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    /// The channel to the supervisor.
    #[error("channel to the sandbox: {0}")]
    Channel(#[from] io::Error),
}

/// How the reason begins why a sandbox ended that wrote more than its [`crate::Limits::disk_bytes`].
pub const OVER_DISK: &str = "over its disk limit";

impl RunnerError {
    /// Whether the sandbox is gone because it wrote more than it may.
    pub fn is_over_disk(&self) -> bool {
        matches!(self, RunnerError::Ended { reason, .. } if reason.starts_with(OVER_DISK))
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RunnerError {
        let path = path.into();
        move |source| RunnerError::File { path, source }
    }
}
