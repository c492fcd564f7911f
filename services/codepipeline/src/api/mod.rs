//! The public API. Each operation: parse, authorize, one domain call, render. By resource:
//! [`pipelines`], [`executions`], [`stages`], [`jobs`], [`custom_types`], [`tags`].
//!
//! Actions and resources: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodepipeline.html>

mod custom_types;
mod executions;
mod jobs;
mod lists;
mod pipelines;
mod stages;
mod tags;

use crate::Pipelines;
use crate::store::PipelineId;
use towpath_api::{ApiError, Call, async_trait};
use towpath_api_codepipeline::*;

/// The pipeline that a call names.
pub(crate) fn pipeline_id(call: &Call, name: Option<String>) -> PipelineId {
    PipelineId { account: call.account.clone(), region: call.region.clone(), name: name.unwrap_or_default() }
}

/// A caller's page size, within bounds.
pub(crate) fn page_size(asked: Option<i64>, most: i64) -> usize {
    asked.unwrap_or(most).clamp(1, most) as usize
}

macro_rules! operations {
    ($($method:ident: $input:ident => $output:ident in $module:ident;)*) => {
        #[async_trait]
        impl CodePipeline for Pipelines {
            $(async fn $method(&self, call: &Call, input: $input) -> Result<$output, ApiError> {
                $module::$method(self, call, input).await.map_err(ApiError::from)
            })*
        }
    };
}

operations! {
    create_pipeline: CreatePipelineInput => CreatePipelineOutput in pipelines;
    update_pipeline: UpdatePipelineInput => UpdatePipelineOutput in pipelines;
    get_pipeline: GetPipelineInput => GetPipelineOutput in pipelines;
    delete_pipeline: DeletePipelineInput => DeletePipelineOutput in pipelines;
    list_pipelines: ListPipelinesInput => ListPipelinesOutput in pipelines;
    start_pipeline_execution: StartPipelineExecutionInput => StartPipelineExecutionOutput in executions;
    stop_pipeline_execution: StopPipelineExecutionInput => StopPipelineExecutionOutput in executions;
    get_pipeline_execution: GetPipelineExecutionInput => GetPipelineExecutionOutput in executions;
    list_pipeline_executions: ListPipelineExecutionsInput => ListPipelineExecutionsOutput in lists;
    list_action_executions: ListActionExecutionsInput => ListActionExecutionsOutput in lists;
    get_pipeline_state: GetPipelineStateInput => GetPipelineStateOutput in stages;
    retry_stage_execution: RetryStageExecutionInput => RetryStageExecutionOutput in stages;
    rollback_stage: RollbackStageInput => RollbackStageOutput in stages;
    disable_stage_transition: DisableStageTransitionInput => DisableStageTransitionOutput in stages;
    enable_stage_transition: EnableStageTransitionInput => EnableStageTransitionOutput in stages;
    put_approval_result: PutApprovalResultInput => PutApprovalResultOutput in stages;
    create_custom_action_type: CreateCustomActionTypeInput => CreateCustomActionTypeOutput in custom_types;
    delete_custom_action_type: DeleteCustomActionTypeInput => DeleteCustomActionTypeOutput in custom_types;
    list_action_types: ListActionTypesInput => ListActionTypesOutput in custom_types;
    poll_for_jobs: PollForJobsInput => PollForJobsOutput in jobs;
    acknowledge_job: AcknowledgeJobInput => AcknowledgeJobOutput in jobs;
    get_job_details: GetJobDetailsInput => GetJobDetailsOutput in jobs;
    put_job_success_result: PutJobSuccessResultInput => PutJobSuccessResultOutput in jobs;
    put_job_failure_result: PutJobFailureResultInput => PutJobFailureResultOutput in jobs;
    tag_resource: TagResourceInput => TagResourceOutput in tags;
    untag_resource: UntagResourceInput => UntagResourceOutput in tags;
    list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput in tags;
}
