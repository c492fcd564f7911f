//! Starting, stopping and reading executions.

use super::pipeline_id;
use crate::Pipelines;
use crate::error::Fault;
use crate::flow::Step;
use crate::render;
use crate::retrying;
use crate::starts::{CLIENT_TOKEN, Start};
use crate::state::{Event, SourcePin, StopRequest, Trigger};
use crate::structure::providers::parse_bool;
use crate::structure::{Provider, Structure};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Call};
use towpath_api_codepipeline::*;

pub async fn start_pipeline_execution(
    service: &Pipelines,
    call: &Call,
    input: StartPipelineExecutionInput,
) -> Result<StartPipelineExecutionOutput, Fault> {
    let id = pipeline_id(call, input.name);
    call.authorize("codepipeline:StartPipelineExecution", &id.arn(), &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let structure = service.flow.structure(&pipeline.generation, pipeline.version).await?;
    let mut variables = BTreeMap::new();
    for variable in input.variables.into_iter().flatten() {
        let name = variable.name.unwrap_or_default();
        if variables.insert(name.clone(), variable.value.unwrap_or_default()).is_some() {
            return Err(ApiError::validation(format!("Variable '{name}' is given more than once.")).into());
        }
    }
    let start = Start {
        trigger: Trigger { kind: trigger_type::START_PIPELINE_EXECUTION.into(), detail: call.caller.arn() },
        variables,
        pins: pins(&structure, &input.source_revisions.unwrap_or_default())?,
        token: input.client_request_token.map(|token| format!("{CLIENT_TOKEN}{token}")),
    };
    let execution = service.flow.start(&pipeline, &start).await?;
    Ok(StartPipelineExecutionOutput { pipeline_execution_id: Some(execution) })
}

/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-trigger-source-overrides.html>
fn pins(
    structure: &Structure,
    overrides: &[SourceRevisionOverride],
) -> Result<BTreeMap<String, SourcePin>, ApiError> {
    let mut pins = BTreeMap::new();
    for one in overrides {
        let name = one.action_name.clone().unwrap_or_default();
        let kind = one.revision_type.clone().unwrap_or_default();
        let value = one.revision_value.clone().unwrap_or_default();
        let action = structure.sources().iter().find(|action| action.name == name);
        let Some(action) = action else {
            return Err(ApiError::validation(format!(
                "Source revision override: there is no source action '{name}'."
            )));
        };
        let allows =
            |key: &str| action.configuration.get(key).map(String::as_str).and_then(parse_bool) == Some(true);
        let pin = match (action.provider, kind.as_str()) {
            (Provider::CodeCommit, source_revision_type::COMMIT_ID) => SourcePin::CommitId(value),
            (Provider::S3Source, source_revision_type::S3_OBJECT_VERSION_ID) => SourcePin::S3VersionId(value),
            (Provider::S3Source, source_revision_type::S3_OBJECT_KEY)
                if allows("AllowOverrideForS3ObjectKey") =>
            {
                SourcePin::S3ObjectKey(value)
            }
            (Provider::S3Source, source_revision_type::S3_OBJECT_KEY) => {
                return Err(ApiError::validation(format!(
                    "Source revision override: action '{name}' does not set AllowOverrideForS3ObjectKey to true."
                )));
            }
            (_, kind) => {
                return Err(ApiError::validation(format!(
                    "Source revision override: the revision type {kind} is not valid for action '{name}'."
                )));
            }
        };
        if pins.insert(name.clone(), pin).is_some() {
            return Err(ApiError::validation(format!(
                "Source revision override: action '{name}' is given twice."
            )));
        }
    }
    Ok(pins)
}

/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-stop.html>
pub async fn stop_pipeline_execution(
    service: &Pipelines,
    call: &Call,
    input: StopPipelineExecutionInput,
) -> Result<StopPipelineExecutionOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    call.authorize("codepipeline:StopPipelineExecution", &id.arn(), &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let execution = input.pipeline_execution_id.unwrap_or_default();
    service.flow.execution(&pipeline, &execution).await.map_err(|error| match error {
        Fault::NoExecution { .. } => Fault::Api(errors::pipeline_execution_not_stoppable_exception(format!(
            "Unable to stop the pipeline execution. There is no execution {execution}."
        ))),
        other => other,
    })?;
    let request =
        StopRequest { abandon: input.abandon.unwrap_or(false), reason: input.reason, by: call.caller.arn() };
    let event = Event::Stop { execution: execution.clone(), request };
    retrying!(service.flow.attempt(&pipeline, Step::new(event.clone()).touching(&execution)).await)?;
    Ok(StopPipelineExecutionOutput { pipeline_execution_id: Some(execution) })
}

pub async fn get_pipeline_execution(
    service: &Pipelines,
    call: &Call,
    input: GetPipelineExecutionInput,
) -> Result<GetPipelineExecutionOutput, Fault> {
    let id = pipeline_id(call, input.pipeline_name);
    call.authorize("codepipeline:GetPipelineExecution", &id.arn(), &[])?;
    let pipeline = service.flow.pipeline(&id).await?;
    let execution = input.pipeline_execution_id.unwrap_or_default();
    let doc = service.flow.execution(&pipeline, &execution).await?;
    Ok(GetPipelineExecutionOutput { pipeline_execution: Some(render::execution(&id, &doc.execution)) })
}
