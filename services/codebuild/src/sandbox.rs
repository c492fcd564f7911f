//! The port to the sandboxes, as narrow as a build needs it. [`towpath_runner::Runner`] is the real one.

use std::path::PathBuf;
use std::sync::Arc;
use towpath_api::async_trait;
use towpath_runner::{Command, ExitStatus, Runner, RunnerError, Spec};

#[async_trait]
pub trait Sandboxes: Send + Sync {
    /// The folder inside under which a build's own files are; `/codebuild`.
    fn base(&self, id: &str) -> PathBuf;

    async fn start(&self, spec: Spec) -> Result<Arc<dyn Sandbox>, RunnerError>;
}

#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Runs a command to its end. `Err` means that it never ran, or that the sandbox is gone.
    async fn exec(&self, command: Command) -> Result<ExitStatus, RunnerError>;

    /// Kills everything inside and waits until it is gone.
    async fn destroy(&self);

    /// Sentences on protections and limits that this machine does not give.
    fn weaknesses(&self) -> Vec<String>;
}

#[async_trait]
impl Sandboxes for Runner {
    fn base(&self, _id: &str) -> PathBuf {
        PathBuf::from("/codebuild")
    }

    async fn start(&self, spec: Spec) -> Result<Arc<dyn Sandbox>, RunnerError> {
        Ok(Arc::new(Runner::start(self, spec).await?))
    }
}

#[async_trait]
impl Sandbox for towpath_runner::Sandbox {
    async fn exec(&self, command: Command) -> Result<ExitStatus, RunnerError> {
        towpath_runner::Sandbox::exec(self, command).await?.wait().await
    }

    async fn destroy(&self) {
        if let Err(error) = self.clone().destroy().await {
            tracing::warn!(sandbox = self.id(), %error, "a build's sandbox did not end cleanly");
        }
    }

    fn weaknesses(&self) -> Vec<String> {
        self.report().weaknesses.clone()
    }
}
