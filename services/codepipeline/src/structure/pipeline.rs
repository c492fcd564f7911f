//! The pipeline's and its stages' own members.

use super::{Context, Kind, MAX_ACTIONS, MAX_ACTIONS_PER_STAGE, MAX_STAGES, MIN_STAGES, Mode, OnFailure};
use super::{Stage, Structure, actions, settings};
use crate::state::RetryMode;
use std::collections::BTreeSet;
use towpath_api::ApiError;
use towpath_api_codepipeline::errors::{
    invalid_action_declaration_exception as invalid_action,
    invalid_blocker_declaration_exception as invalid_blocker,
    invalid_stage_declaration_exception as invalid_stage, invalid_structure_exception as invalid_structure,
};
use towpath_api_codepipeline::{
    FailureConditions, PipelineDeclaration, StageDeclaration, execution_mode, pipeline_type,
};

pub(super) fn read(declaration: &PipelineDeclaration, context: &Context) -> Result<Structure, ApiError> {
    let kind = match declaration.pipeline_type.as_deref() {
        Some(pipeline_type::V2) => Kind::V2,
        _ => Kind::V1,
    };
    let mode = mode(declaration, kind)?;
    let stages = stages(declaration, kind, mode, context)?;
    let variables = settings::variables(declaration, kind)?;
    let triggers = settings::triggers(declaration, kind, &stages)?;
    Ok(Structure {
        name: declaration.name.clone().unwrap_or_default(),
        role_arn: declaration.role_arn.clone().unwrap_or_default(),
        bucket: bucket(declaration, context)?,
        kind,
        mode,
        stages,
        variables,
        triggers,
    })
}

fn mode(declaration: &PipelineDeclaration, kind: Kind) -> Result<Mode, ApiError> {
    let mode = match declaration.execution_mode.as_deref() {
        Some(execution_mode::QUEUED) => Mode::Queued,
        Some(execution_mode::PARALLEL) => Mode::Parallel,
        _ => Mode::Superseded,
    };
    if kind == Kind::V1 && mode != Mode::Superseded {
        return Err(invalid_structure(format!(
            "Pipeline execution mode {} is only supported for pipelines of type V2",
            mode.as_str()
        )));
    }
    Ok(mode)
}

/// One bucket, in the pipeline's own region.
fn bucket(declaration: &PipelineDeclaration, context: &Context) -> Result<String, ApiError> {
    const EITHER: &str = "You must include either artifactStore or artifactStores in your pipeline, but you \
                          cannot use both";
    let store = match (&declaration.artifact_store, &declaration.artifact_stores) {
        (Some(store), None) => store,
        (None, Some(stores)) if !stores.is_empty() => {
            if let Some(region) = stores.keys().find(|region| *region != context.region) {
                return Err(ApiError::not_implemented(format!(
                    "codepipeline artifact stores in other regions ({region}); this one is {}",
                    context.region
                )));
            }
            stores.get(context.region).ok_or_else(|| invalid_structure(EITHER))?
        }
        _ => return Err(invalid_structure(EITHER)),
    };
    if store.encryption_key.is_some() {
        return Err(ApiError::not_implemented("codepipeline artifactStore.encryptionKey (KMS)"));
    }
    store.location.clone().ok_or_else(|| invalid_structure(EITHER))
}

fn stages(
    declaration: &PipelineDeclaration,
    kind: Kind,
    mode: Mode,
    context: &Context,
) -> Result<Vec<Stage>, ApiError> {
    let declared = declaration.stages.as_deref().unwrap_or_default();
    if declared.len() < MIN_STAGES {
        return Err(invalid_structure(format!(
            "Pipeline has only {} stage(s). There should be a minimum of {MIN_STAGES} stages in a pipeline",
            declared.len()
        )));
    }
    if declared.len() > MAX_STAGES {
        return Err(invalid_structure(format!(
            "Pipeline has {} stages. There should be a maximum of {MAX_STAGES} stages in a pipeline",
            declared.len()
        )));
    }
    let total: usize = declared.iter().map(|stage| stage.actions.iter().flatten().count()).sum();
    if total > MAX_ACTIONS {
        return Err(invalid_structure(format!(
            "Pipeline has {total} actions. There should be a maximum of {MAX_ACTIONS} actions in a pipeline"
        )));
    }
    let mut names = BTreeSet::new();
    let mut stages = Vec::with_capacity(declared.len());
    for stage in declared {
        let stage = read_stage(stage, kind, mode, context)?;
        if !names.insert(stage.name.clone()) {
            return Err(invalid_stage(format!(
                "Stage name '{}' is used more than once. All stage names within a pipeline must be unique",
                stage.name
            )));
        }
        stages.push(stage);
    }
    check_sources(&stages)?;
    Ok(stages)
}

fn check_sources(stages: &[Stage]) -> Result<(), ApiError> {
    let (first, rest) = match stages.split_first() {
        Some(parts) => parts,
        None => return Ok(()),
    };
    if first.actions.iter().any(|action| !action.provider.is_source(&action.type_id)) {
        return Err(invalid_structure(
            "Pipeline should start with a stage that only contains source actions",
        ));
    }
    for stage in rest {
        if let Some(action) = stage.actions.iter().find(|action| action.provider.is_source(&action.type_id)) {
            return Err(invalid_structure(format!(
                "Source action '{}' in stage '{}' is not allowed. Only the first stage of a pipeline can contain \
                 source actions",
                action.name, stage.name
            )));
        }
    }
    Ok(())
}

fn read_stage(
    stage: &StageDeclaration,
    kind: Kind,
    mode: Mode,
    context: &Context,
) -> Result<Stage, ApiError> {
    let name = stage.name.clone().unwrap_or_default();
    if stage.blockers.as_ref().is_some_and(|blockers| !blockers.is_empty()) {
        return Err(invalid_blocker(format!("Blockers are reserved for future use (stage '{name}')")));
    }
    if stage.before_entry.is_some() {
        return Err(ApiError::not_implemented(format!("codepipeline beforeEntry conditions (stage {name})")));
    }
    if stage.on_success.is_some() {
        return Err(ApiError::not_implemented(format!("codepipeline onSuccess conditions (stage {name})")));
    }
    let declared = stage.actions.as_deref().unwrap_or_default();
    if declared.is_empty() {
        return Err(invalid_stage(format!("Stage '{name}' must contain at least one action")));
    }
    if declared.len() > MAX_ACTIONS_PER_STAGE {
        return Err(invalid_stage(format!(
            "Stage '{name}' has {} actions. The maximum is {MAX_ACTIONS_PER_STAGE}",
            declared.len()
        )));
    }
    let mut names = BTreeSet::new();
    let mut parsed = Vec::with_capacity(declared.len());
    for action in declared {
        let action = actions::read(action, &name, context)?;
        if !names.insert(action.name.clone()) {
            return Err(invalid_action(format!(
                "Action name '{}' is used more than once in stage '{name}'. All action names within a stage must \
                 be unique",
                action.name
            )));
        }
        parsed.push(action);
    }
    let on_failure =
        stage.on_failure.as_ref().map(|on| on_failure(on, &name, kind, mode, &parsed)).transpose()?;
    Ok(Stage { name, actions: parsed, on_failure: on_failure.flatten() })
}

/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-rollback-auto.html>,
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-retry.html#stage-retry-auto>
fn on_failure(
    declared: &FailureConditions,
    stage: &str,
    kind: Kind,
    mode: Mode,
    actions: &[super::Action],
) -> Result<Option<OnFailure>, ApiError> {
    if declared.conditions.is_some() {
        return Err(ApiError::not_implemented(format!("codepipeline onFailure conditions (stage {stage})")));
    }
    if kind == Kind::V1 {
        return Err(invalid_stage(format!(
            "onFailure of stage '{stage}' is only supported for pipelines of type V2"
        )));
    }
    let retry = declared.retry_configuration.as_ref().map(|retry| match retry.retry_mode.as_deref() {
        Some("ALL_ACTIONS") => RetryMode::AllActions,
        _ => RetryMode::FailedActions,
    });
    match (declared.result.as_deref(), retry) {
        (Some("RETRY"), retry) => Ok(Some(OnFailure::Retry(retry.unwrap_or(RetryMode::FailedActions)))),
        (_, Some(_)) => Err(invalid_stage(format!(
            "retryConfiguration of stage '{stage}' is only valid with the result RETRY"
        ))),
        (Some("ROLLBACK"), None) if mode == Mode::Parallel => Err(invalid_stage(format!(
            "onFailure result ROLLBACK of stage '{stage}' is not supported for pipelines in PARALLEL mode"
        ))),
        (Some("ROLLBACK"), None)
            if actions.iter().any(|action| action.provider.is_source(&action.type_id)) =>
        {
            Err(invalid_stage(format!(
                "onFailure result ROLLBACK is not supported for the source stage '{stage}'"
            )))
        }
        (Some("ROLLBACK"), None) => Ok(Some(OnFailure::Rollback)),
        (Some("FAIL") | None, None) => Ok(None),
        (Some(other), None) => {
            Err(invalid_stage(format!("onFailure result {other} of stage '{stage}' is not valid")))
        }
    }
}
