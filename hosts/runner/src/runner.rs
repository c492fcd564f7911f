//! The server's handle on all sandboxes of one state directory.

use crate::{Config, Mode, RunnerError, Sandbox, Spec};

/// Starts sandboxes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runner {}

/// What [`Runner::sweep`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub sandboxes: Vec<String>,
}

impl Runner {
    /// Prepares the state directory, finds the toolchains and probes what this machine allows. Blocking, some
    /// milliseconds; call it once at start.
    pub fn new(_config: Config) -> Result<Runner, RunnerError> {
        Err(RunnerError::Unavailable { what: "the sandbox".into(), remedy: "it is being built".into() })
    }

    pub fn mode(&self) -> Mode {
        Mode::Rootless
    }

    /// Kills and removes what an earlier server of this state directory left: processes, cgroups, folders.
    /// Hosts that are held by their own supervisor stay. Call it at start, before the first `start`.
    pub async fn sweep(&self) -> Result<Swept, RunnerError> {
        Ok(Swept::default())
    }

    /// Starts a sandbox; it is ready for commands when this returns. Dropping its last handle kills it.
    pub async fn start(&self, spec: Spec) -> Result<Sandbox, RunnerError> {
        Err(RunnerError::Invalid(spec.id))
    }
}
