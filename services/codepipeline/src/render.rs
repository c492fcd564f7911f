//! Documents in AWS's shapes.

use crate::events::{external_id, url};
use crate::state::{
    ActionStatus, Artifact, End, Execution, ExecutionKind, Progress, RetryTrigger, StageRun, StageStatus,
    Transition,
};
use crate::store::{ActionDoc, External, PipelineId};
use crate::structure::Action;
use std::collections::BTreeMap;
use towpath_api_codepipeline::*;

fn status(execution: &Execution) -> &'static str {
    use pipeline_execution_status as status;
    match &execution.progress {
        Progress::Waiting { .. } => status::IN_PROGRESS,
        Progress::Running { halt: Some(crate::state::Halt::Stop(_)), .. } => status::STOPPING,
        Progress::Running { .. } => status::IN_PROGRESS,
        Progress::Ended { end, .. } => match end {
            End::Succeeded => status::SUCCEEDED,
            End::Failed { .. } => status::FAILED,
            End::Stopped { .. } => status::STOPPED,
            End::Superseded { .. } => status::SUPERSEDED,
            End::Cancelled { .. } => status::CANCELLED,
        },
    }
}

fn status_summary(execution: &Execution) -> Option<String> {
    match &execution.progress {
        Progress::Ended { end: End::Superseded { by }, .. } => Some(format!("Superseded by execution {by}")),
        Progress::Ended { end: End::Cancelled { version }, .. } => Some(format!(
            "The pipeline was updated to version {version} before the execution could be completed"
        )),
        _ => None,
    }
}

fn kind(execution: &Execution) -> String {
    match execution.kind {
        ExecutionKind::Standard => execution_type::STANDARD,
        ExecutionKind::Rollback { .. } => execution_type::ROLLBACK,
    }
    .to_owned()
}

fn rollback(execution: &Execution) -> Option<PipelineRollbackMetadata> {
    match &execution.kind {
        ExecutionKind::Standard => None,
        ExecutionKind::Rollback { target } => {
            Some(PipelineRollbackMetadata { rollback_target_pipeline_execution_id: Some(target.clone()) })
        }
    }
}

fn trigger(execution: &Execution) -> ExecutionTrigger {
    ExecutionTrigger {
        trigger_type: Some(execution.trigger.kind.clone()),
        trigger_detail: Some(execution.trigger.detail.clone()),
    }
}

pub fn summary(execution: &Execution) -> PipelineExecutionSummary {
    let stop = match &execution.progress {
        Progress::Ended { end: End::Stopped { request, .. }, .. }
        | Progress::Running { halt: Some(crate::state::Halt::Stop(request)), .. } => {
            Some(StopExecutionTrigger { reason: request.reason.clone() })
        }
        _ => None,
    };
    PipelineExecutionSummary {
        execution_mode: Some(execution.mode.as_str().to_owned()),
        execution_type: Some(kind(execution)),
        last_update_time: Some(execution.updated),
        pipeline_execution_id: Some(execution.id.clone()),
        rollback_metadata: rollback(execution),
        source_revisions: Some(execution.revisions.iter().map(source_revision).collect()),
        start_time: Some(execution.started),
        status: Some(status(execution).to_owned()),
        status_summary: status_summary(execution),
        stop_trigger: stop,
        trigger: Some(trigger(execution)),
    }
}

fn source_revision(revision: &crate::state::SourceRevision) -> SourceRevision {
    SourceRevision {
        action_name: Some(revision.action.clone()),
        revision_id: Some(revision.revision_id.clone()),
        revision_summary: revision.summary.clone(),
        revision_url: revision.url.clone(),
    }
}

pub fn execution(id: &PipelineId, execution: &Execution) -> PipelineExecution {
    let revisions = execution.revisions.iter().map(|revision| ArtifactRevision {
        name: Some(revision.artifact.clone()),
        revision_id: Some(revision.revision_id.clone()),
        revision_summary: revision.summary.clone(),
        revision_url: revision.url.clone(),
        created: revision.created,
        revision_change_identifier: None,
    });
    let variables = execution.variables.iter().map(|(name, value)| ResolvedPipelineVariable {
        name: Some(name.clone()),
        resolved_value: Some(value.clone()),
    });
    PipelineExecution {
        artifact_revisions: Some(revisions.collect()),
        execution_mode: Some(execution.mode.as_str().to_owned()),
        execution_type: Some(kind(execution)),
        pipeline_execution_id: Some(execution.id.clone()),
        pipeline_name: Some(id.name.clone()),
        pipeline_version: Some(execution.version),
        rollback_metadata: rollback(execution),
        status: Some(status(execution).to_owned()),
        status_summary: status_summary(execution),
        trigger: Some(trigger(execution)),
        variables: (!execution.variables.is_empty()).then(|| variables.collect()),
    }
}

pub fn stage_execution(execution: &Execution, run: Option<&StageRun>) -> StageExecution {
    use stage_execution_status as status;
    let status = match run.map(|run| run.status) {
        None | Some(StageStatus::InProgress) => status::IN_PROGRESS,
        Some(StageStatus::Stopping) => status::STOPPING,
        Some(StageStatus::Stopped) => status::STOPPED,
        Some(StageStatus::Succeeded) => status::SUCCEEDED,
        Some(StageStatus::Failed) => status::FAILED,
        Some(StageStatus::Cancelled) => status::CANCELLED,
    };
    StageExecution {
        pipeline_execution_id: Some(execution.id.clone()),
        status: Some(status.to_owned()),
        type_: Some(kind(execution)),
    }
}

pub fn retry_metadata(run: &StageRun) -> Option<RetryStageMetadata> {
    let count = |count: u32| (count > 0).then_some(i64::from(count));
    let latest = run.retries.latest?;
    Some(RetryStageMetadata {
        auto_stage_retry_attempt: count(run.retries.automatic),
        manual_stage_retry_attempt: count(run.retries.manual),
        latest_retry_trigger: Some(
            match latest {
                RetryTrigger::Automatic => retry_trigger::AUTOMATED_STAGE_RETRY,
                RetryTrigger::Manual => retry_trigger::MANUAL_STAGE_RETRY,
            }
            .to_owned(),
        ),
    })
}

pub fn transition(transition: &Transition) -> TransitionState {
    match transition {
        Transition::Open => TransitionState { enabled: Some(true), ..TransitionState::default() },
        Transition::Enabled { by, at } => TransitionState {
            enabled: Some(true),
            last_changed_by: Some(by.clone()),
            last_changed_at: Some(*at),
            disabled_reason: None,
        },
        Transition::Disabled { reason, by, at } => TransitionState {
            enabled: Some(false),
            last_changed_by: Some(by.clone()),
            last_changed_at: Some(*at),
            disabled_reason: Some(reason.clone()),
        },
    }
}

fn action_status(doc: &ActionDoc) -> String {
    use action_execution_status as status;
    match doc.status {
        ActionStatus::InProgress => status::IN_PROGRESS,
        ActionStatus::Succeeded => status::SUCCEEDED,
        ActionStatus::Failed => status::FAILED,
        ActionStatus::Abandoned => status::ABANDONED,
    }
    .to_owned()
}

fn error(doc: &ActionDoc) -> Option<ErrorDetails> {
    let error = doc.error.as_ref()?;
    Some(ErrorDetails { code: Some(error.code.clone()), message: Some(error.message.clone()) })
}

pub fn action_state(action: &Action, doc: Option<&ActionDoc>) -> ActionState {
    let Some(doc) = doc else {
        return ActionState { action_name: Some(action.name.clone()), ..ActionState::default() };
    };
    // Who is asked must see what about: there is nothing to answer before the configuration is resolved.
    let asks = doc.status == ActionStatus::InProgress && doc.resolved.is_some();
    let token = match &doc.external {
        External::Approval { token } if asks => Some(token.clone()),
        _ => None,
    };
    let external = match &doc.external {
        External::Approval { .. } => None,
        _ => external_id(doc),
    };
    let revision = doc.products.revision.as_ref().map(|revision| ActionRevision {
        revision_id: Some(revision.revision_id.clone()),
        revision_change_id: Some(revision.revision_id.clone()),
        created: Some(revision.created.unwrap_or(doc.updated)),
    });
    ActionState {
        action_name: Some(action.name.clone()),
        current_revision: revision,
        entity_url: None,
        latest_execution: Some(ActionExecution {
            action_execution_id: Some(doc.id.clone()),
            error_details: error(doc),
            external_execution_id: external,
            external_execution_url: url(doc),
            last_status_change: Some(match doc.status {
                ActionStatus::InProgress => doc.started,
                _ => doc.updated,
            }),
            last_updated_by: doc.updated_by.clone(),
            log_stream_arn: doc.log_stream_arn.clone(),
            percent_complete: doc.percent,
            status: Some(action_status(doc)),
            summary: doc.summary.clone(),
            token,
        }),
        revision_url: doc.products.revision.as_ref().and_then(|revision| revision.url.clone()),
    }
}

fn artifacts(artifacts: &BTreeMap<String, Artifact>) -> Vec<ArtifactDetail> {
    let detail = |(name, artifact): (&String, &Artifact)| ArtifactDetail {
        name: Some(name.clone()),
        s3location: Some(S3Location {
            bucket: Some(artifact.bucket.clone()),
            key: Some(artifact.key.clone()),
        }),
    };
    artifacts.iter().map(detail).collect()
}

/// `declared` is absent only where the structure's version can no longer be read.
pub fn action_detail(doc: &ActionDoc, declared: Option<&Action>) -> ActionExecutionDetail {
    let input = declared.map(|declared| ActionExecutionInput {
        action_type_id: Some(declared.type_id.clone()),
        configuration: Some(declared.configuration.clone()),
        input_artifacts: Some(artifacts(&doc.inputs)),
        namespace: declared.namespace.clone(),
        region: Some(doc.pipeline.region.clone()),
        resolved_configuration: doc.resolved.clone(),
        role_arn: declared.role_arn.clone(),
    });
    let output = ActionExecutionOutput {
        execution_result: Some(ActionExecutionResult {
            error_details: error(doc),
            external_execution_id: external_id(doc),
            external_execution_summary: doc.summary.clone(),
            external_execution_url: url(doc),
            log_stream_arn: doc.log_stream_arn.clone(),
        }),
        output_artifacts: Some(artifacts(&doc.products.artifacts)),
        output_variables: Some(doc.products.variables.clone()),
    };
    ActionExecutionDetail {
        action_execution_id: Some(doc.id.clone()),
        action_name: Some(doc.action.clone()),
        input,
        output: Some(output),
        last_update_time: Some(doc.updated),
        pipeline_execution_id: Some(doc.execution.clone()),
        pipeline_version: Some(doc.version),
        stage_name: Some(doc.stage.clone()),
        start_time: Some(doc.started),
        status: Some(action_status(doc)),
        updated_by: doc.updated_by.clone(),
    }
}
