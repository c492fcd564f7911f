//! The pipeline's state, and what people do to its stages: retry, roll back, close and open
//! transitions, approve.

use super::pipeline_id;
use crate::Pipelines;
use crate::error::Fault;
use crate::flow::Step;
use crate::render;
use crate::retrying;
use crate::state::{ActionStatus, Event, Execution, Products, Refusal, RetryMode, Slot, Transition, Trigger};
use crate::store::*;
use crate::structure::{Provider, Stage, Structure};
use crate::work::Ending;
use std::collections::{BTreeMap, BTreeSet};
use towpath_api::{ApiError, Call};
use towpath_api_codepipeline::*;
use towpath_store::Txn;

pub async fn get_pipeline_state(
    service: &Pipelines,
    call: &Call,
    input: GetPipelineStateInput,
) -> Result<GetPipelineStateOutput, Fault> {
    let id = pipeline_id(call, input.name);
    call.authorize("codepipeline:GetPipelineState", &id.arn(), &[])?;
    let pipeline = service.flow.pipeline_head(&id).await?;
    let board = service.flow.board_of(&pipeline.id, &pipeline.generation).await?;
    let structure = service.flow.structure(&pipeline.generation, pipeline.version).await?;
    // Most stages saw the same execution last.
    let slots = structure.stages.iter().filter_map(|stage| board.board.slots.get(&stage.name));
    let seen: BTreeSet<String> =
        slots.flat_map(|slot| slot.latest.iter().chain(&slot.inbound)).cloned().collect();
    let mut executions = BTreeMap::new();
    for id in seen {
        let found = service.flow.execution_of(&pipeline.generation, &pipeline.id, &id).await?;
        executions.insert(id, found.execution);
    }
    let mut states = Vec::with_capacity(structure.stages.len());
    let untouched = Slot::default();
    for stage in &structure.stages {
        let slot = board.board.slots.get(&stage.name).unwrap_or(&untouched);
        states.push(stage_state(service, &pipeline, stage, slot, &executions).await?);
    }
    Ok(GetPipelineStateOutput {
        pipeline_name: Some(id.name),
        pipeline_version: Some(pipeline.version),
        stage_states: Some(states),
        created: Some(pipeline.created),
        updated: Some(pipeline.updated),
    })
}

async fn stage_state(
    service: &Pipelines,
    pipeline: &PipelineHead,
    stage: &Stage,
    slot: &Slot,
    executions: &BTreeMap<String, Execution>,
) -> Result<towpath_api_codepipeline::StageState, Fault> {
    let mut actions = Vec::with_capacity(stage.actions.len());
    for action in &stage.actions {
        let doc = match slot.actions.get(&action.name) {
            None => None,
            Some(known) => {
                let key = ActionDoc::key_of(&pipeline.generation, &known.action_id);
                service.flow.store.get::<ActionDoc>(&key).await?
            }
        };
        actions.push(render::action_state(action, doc.as_deref()));
    }
    let latest = slot.latest.as_ref().and_then(|id| executions.get(id));
    let inbound = slot.inbound.iter().filter_map(|id| executions.get(id));
    let inbound: Vec<_> = inbound.map(|execution| render::stage_execution(execution, None)).collect();
    let run = latest.and_then(|execution| execution.stages.get(&stage.name));
    Ok(towpath_api_codepipeline::StageState {
        stage_name: Some(stage.name.clone()),
        inbound_execution: inbound.last().cloned(),
        inbound_executions: (!inbound.is_empty()).then_some(inbound),
        inbound_transition_state: Some(render::transition(&slot.transition)),
        action_states: Some(actions),
        latest_execution: latest.map(|execution| render::stage_execution(execution, run)),
        retry_stage_metadata: run.and_then(render::retry_metadata),
        ..Default::default()
    })
}

fn stage_arn(id: &PipelineId, stage: &str) -> String {
    format!("{}/{stage}", id.arn())
}

pub async fn retry_stage_execution(
    service: &Pipelines,
    call: &Call,
    input: RetryStageExecutionInput,
) -> Result<RetryStageExecutionOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    let stage = input.stage_name.unwrap_or_default();
    call.authorize("codepipeline:RetryStageExecution", &stage_arn(&id, &stage), &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let execution = input.pipeline_execution_id.unwrap_or_default();
    let mode = match input.retry_mode.as_deref() {
        Some(stage_retry_mode::ALL_ACTIONS) => RetryMode::AllActions,
        _ => RetryMode::FailedActions,
    };
    current(service, &pipeline, &stage).await?;
    if let Err(Fault::NoExecution { .. }) = service.flow.execution(&pipeline, &execution).await {
        let message = format!("There is no execution {execution} of pipeline {}.", id.name);
        return Err(errors::stage_not_retryable_exception(message).into());
    }
    let event = Event::Retry { execution: execution.clone(), stage, mode };
    retrying!(service.flow.attempt(&pipeline, Step::new(event.clone()).touching(&execution)).await)?;
    Ok(RetryStageExecutionOutput { pipeline_execution_id: Some(execution) })
}

pub async fn rollback_stage(
    service: &Pipelines,
    call: &Call,
    input: RollbackStageInput,
) -> Result<RollbackStageOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    let stage = input.stage_name.unwrap_or_default();
    call.authorize("codepipeline:RollbackStage", &stage_arn(&id, &stage), &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let target = input.target_pipeline_execution_id.unwrap_or_default();
    let trigger = Trigger { kind: trigger_type::MANUAL_ROLLBACK.into(), detail: call.caller.arn() };
    let execution = service.flow.roll_back(&pipeline, &stage, &target, trigger, None).await?;
    Ok(RollbackStageOutput { pipeline_execution_id: Some(execution) })
}

/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/transitions.html>
pub async fn disable_stage_transition(
    service: &Pipelines,
    call: &Call,
    input: DisableStageTransitionInput,
) -> Result<DisableStageTransitionOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    let stage = input.stage_name.unwrap_or_default();
    call.authorize("codepipeline:DisableStageTransition", &stage_arn(&id, &stage), &[])?;
    let to = Transition::Disabled {
        reason: input.reason.unwrap_or_default(),
        by: call.caller.arn(),
        at: service.flow.store.now(),
    };
    turn(service, &id, &stage, input.transition_type.as_deref(), to).await?;
    Ok(DisableStageTransitionOutput::default())
}

pub async fn enable_stage_transition(
    service: &Pipelines,
    call: &Call,
    input: EnableStageTransitionInput,
) -> Result<EnableStageTransitionOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    let stage = input.stage_name.unwrap_or_default();
    call.authorize("codepipeline:EnableStageTransition", &stage_arn(&id, &stage), &[])?;
    let to = Transition::Enabled { by: call.caller.arn(), at: service.flow.store.now() };
    turn(service, &id, &stage, input.transition_type.as_deref(), to).await?;
    Ok(EnableStageTransitionOutput::default())
}

/// The way out of a stage is the way into the next one.
async fn turn(
    service: &Pipelines,
    id: &PipelineId,
    stage: &str,
    direction: Option<&str>,
    to: Transition,
) -> Result<(), Fault> {
    let pipeline = service.flow.pipeline(id).await?;
    let structure = current(service, &pipeline, stage).await?;
    let target = match direction {
        Some(stage_transition_type::OUTBOUND) => {
            structure.from(stage).get(1).map(|next| next.name.clone()).ok_or(Refusal::NoOutbound)?
        }
        _ => stage.to_owned(),
    };
    let event = Event::Transition { stage: target, to };
    retrying!(service.flow.attempt(&pipeline, Step::new(event.clone())).await)?;
    Ok(())
}

/// The structure in force, which has the stage.
async fn current(
    service: &Pipelines,
    pipeline: &PipelineDoc,
    stage: &str,
) -> Result<std::sync::Arc<Structure>, Fault> {
    let structure = service.flow.structure(&pipeline.generation, pipeline.version).await?;
    match structure.stage(stage) {
        Some(_) => Ok(structure),
        None => Err(Refusal::UnknownStage(stage.to_owned()).into()),
    }
}

/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/approvals-approve-or-reject.html>
pub async fn put_approval_result(
    service: &Pipelines,
    call: &Call,
    input: PutApprovalResultInput,
) -> Result<PutApprovalResultOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    let stage = input.stage_name.unwrap_or_default();
    let action = input.action_name.unwrap_or_default();
    let resource = format!("{}/{stage}/{action}", id.arn());
    call.authorize("codepipeline:PutApprovalResult", &resource, &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let structure = current(service, &pipeline, &stage).await?;
    let declared = structure.stage(&stage).and_then(|stage| stage.action(&action));
    if declared.map(|action| action.provider) != Some(Provider::Approval) {
        let message = format!("Approval action {action} does not exist in stage {stage}");
        return Err(errors::action_not_found_exception(message).into());
    }
    let token = input.token.unwrap_or_default();
    let result = input.result.unwrap_or_default();
    let approved = result.status.as_deref() == Some(approval_status::APPROVED);
    let ending = verdict(approved, result.summary.unwrap_or_default(), call);
    retrying!(try_answer(service, &pipeline, (&stage, &action, &token), &ending).await)?;
    Ok(PutApprovalResultOutput { approved_at: Some(service.flow.store.now()) })
}

fn verdict(approved: bool, summary: String, call: &Call) -> Ending {
    let shown = (!summary.is_empty()).then(|| summary.clone());
    let mut ending = if approved {
        let variables = BTreeMap::from([("ApprovalSummary".to_owned(), summary)]);
        Ending::succeeded(Products { variables, ..Products::default() }, shown)
    } else {
        let why = shown.clone().map(|summary| format!(": {summary}")).unwrap_or_default();
        Ending {
            summary: shown,
            ..Ending::failed("JobFailed", format!("Rejected by {}{why}", call.caller.arn()))
        }
    };
    ending.updated_by = Some(call.caller.arn());
    ending
}

/// The token says which run of the action is meant: it was made when that run started.
async fn try_answer(
    service: &Pipelines,
    pipeline: &PipelineDoc,
    (stage, action, token): (&str, &str, &str),
    ending: &Ending,
) -> Result<(), Fault> {
    let board = service.flow.board(pipeline).await?;
    let mut runs = Vec::new();
    for execution in &board.board.active {
        let execution = service.flow.execution(pipeline, execution).await?.execution;
        runs.extend(
            execution.stages.get(stage).and_then(|run| run.actions.get(action)).map(|run| run.id.clone()),
        );
    }
    let slot = board.board.slots.get(stage).and_then(|slot| slot.actions.get(action));
    runs.extend(slot.map(|known| known.action_id.clone()));
    for run in runs {
        let key = ActionDoc::key_of(&pipeline.generation, &run);
        let Some(doc) = service.flow.store.get::<ActionDoc>(&key).await? else { continue };
        if doc.external != (External::Approval { token: token.to_owned() }) {
            continue;
        }
        if doc.status == ActionStatus::Succeeded
            || doc.error.as_ref().is_some_and(|error| error.code == "JobFailed")
        {
            return Err(errors::approval_already_completed_exception(format!(
                "The approval action {action} has already been approved or rejected."
            ))
            .into());
        }
        if doc.status != ActionStatus::InProgress || service.flow.store.now() >= doc.deadline {
            break;
        }
        return service.try_finish(pipeline, &doc.id, ending, None, Txn::new()).await;
    }
    let message =
        format!("The approval request of action {action} already received a response or has expired.");
    Err(Fault::Api(invalid_token(message)))
}

fn invalid_token(message: String) -> ApiError {
    errors::invalid_approval_token_exception(message)
}
