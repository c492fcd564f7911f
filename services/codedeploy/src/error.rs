//! What goes wrong while a deployment moves on, besides what the planner decides.

use towpath_api::ApiError;
use towpath_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("deployment {0} is not there any more")]
    NoDeployment(String),
    #[error("{instance} is no target of deployment {deployment}")]
    NoTarget { deployment: String, instance: String },
    #[error("deployment {0} changed too often at the same time")]
    Contention(String),
    #[error("the plan of deployment {0} is not there")]
    NoPlan(String),
    #[error("{what}: {error}")]
    Elsewhere { what: &'static str, error: Box<ApiError> },
    #[error("cannot use the folder for temporary files: {0}")]
    Scratch(#[from] std::io::Error),
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<WorkError> for ApiError {
    fn from(error: WorkError) -> Self {
        ApiError::internal(error)
    }
}
