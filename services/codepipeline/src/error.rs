//! The service's own errors, and their one mapping to AWS's codes.

use crate::state::Refusal;
use towpath_api::ApiError;
use towpath_api_codepipeline::errors;
use towpath_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("Account '{account}' does not have a pipeline with name '{name}'")]
    NoPipeline { account: String, name: String },
    #[error("Pipeline {name} does not have an execution with id {execution}")]
    NoExecution { name: String, execution: String },
    #[error("{0}")]
    File(#[from] std::io::Error),
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Store(error) => error.into(),
            Fault::Api(error) => error,
            Fault::NoPipeline { .. } => errors::pipeline_not_found_exception(text),
            Fault::NoExecution { .. } => errors::pipeline_execution_not_found_exception(text),
            Fault::File(error) => ApiError::internal(error),
            Fault::Refused(refusal) => refused(&refusal),
        }
    }
}

fn refused(refusal: &Refusal) -> ApiError {
    match refusal {
        Refusal::UnknownExecution(id) => {
            errors::pipeline_execution_not_found_exception(format!("Execution with id {id} does not exist"))
        }
        Refusal::UnknownStage(stage) => errors::stage_not_found_exception(format!(
            "Stage with name {stage} does not exist in the pipeline"
        )),
        Refusal::TooManyExecutions => errors::concurrent_pipeline_executions_limit_exceeded_exception(
            "The pipeline has reached the limit for concurrent pipeline executions.",
        ),
        Refusal::NotStoppable => errors::pipeline_execution_not_stoppable_exception(
            "Unable to stop the pipeline execution. It has already ended.",
        ),
        Refusal::DuplicateStop => errors::duplicated_stop_request_exception(
            "The pipeline execution is already in a Stopping state. If you already chose to stop and wait, you can \
             only choose to stop and abandon.",
        ),
        Refusal::Busy => {
            errors::conflict_exception("The stage is running. Try again when its execution has ended.")
        }
        Refusal::NotRetryable(why) => {
            errors::stage_not_retryable_exception(format!("Unable to retry. {why}"))
        }
        Refusal::NotLatest => errors::not_latest_pipeline_execution_exception(
            "A newer execution has entered the stage; only the latest execution of a stage can be retried.",
        ),
        Refusal::NoOutbound => {
            ApiError::validation("The last stage of a pipeline has no outbound transition.")
        }
    }
}
