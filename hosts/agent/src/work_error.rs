//! Why a command could not be carried out, as the deployment's diagnostics tell it.

use crate::diagnostics::{Diagnostics, ErrorCode};
use std::io;

/// A command failed; the text is for the deployment's diagnostics.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct WorkError(pub Diagnostics);

impl WorkError {
    pub fn new(message: impl Into<String>) -> WorkError {
        WorkError(Diagnostics::new(ErrorCode::UnknownError, message))
    }

    /// The agent was told to stop, or the server that it is over.
    pub fn aborted() -> WorkError {
        WorkError::new("The command was aborted: the agent was stopped, or the deployment ended meanwhile.")
    }
}

impl From<io::Error> for WorkError {
    fn from(error: io::Error) -> Self {
        WorkError::new(error.to_string())
    }
}
