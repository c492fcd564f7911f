//! Starting executions: by hand, by an event, as a rollback. Each start may carry a token; a token
//! starts one execution however often it is used, also over a crash, because the token's document and
//! the execution are written by one transaction.

use crate::error::Fault;
use crate::flow::{Flow, Step};
use crate::retrying;
use crate::state::*;
use crate::store::*;
use crate::structure::{Mode, Structure};
use std::collections::BTreeMap;
use towpath_api::{ApiError, id};
use towpath_api_codepipeline::errors;

/// What a start asks for.
#[derive(Clone, Debug, Default)]
pub struct Start {
    pub trigger: Trigger,
    pub variables: BTreeMap<String, String>,
    pub pins: BTreeMap<String, SourcePin>,
    pub token: Option<String>,
}

/// What a client's token begins with. One token with two different questions is refused; an event's token is the
/// event's, whatever the pipeline makes of it by now.
pub const CLIENT_TOKEN: &str = "client:";

impl Start {
    fn asked(&self) -> Option<Asked> {
        let by_client = self.token.as_ref().is_some_and(|token| token.starts_with(CLIENT_TOKEN));
        by_client.then(|| Asked { variables: self.variables.clone(), pins: self.pins.clone() })
    }
}

impl Flow {
    /// Starts a standard execution, and answers its id.
    pub async fn start(&self, pipeline: &PipelineDoc, start: &Start) -> Result<String, Fault> {
        retrying!(self.try_start(pipeline, start).await)
    }

    async fn try_start(&self, pipeline: &PipelineDoc, start: &Start) -> Result<String, Fault> {
        let asked = start.asked();
        if let Some(known) = self.started_before(pipeline, start.token.as_deref()).await? {
            // What an earlier version wrote has no question to compare.
            if asked.is_some() && known.asked.is_some() && asked != known.asked {
                return Err(ApiError::validation(
                    "The clientRequestToken was used before, with other variables or source revisions: use a new token",
                )
                .into());
            }
            return Ok(known.execution);
        }
        let loaded = self.load(pipeline, None).await?;
        let version = loaded.world.board.version;
        let structure = self.structure(&pipeline.generation, version).await?;
        let first = structure.stages.first().map(|stage| stage.name.clone()).unwrap_or_default();
        let mut execution = self.blank(&structure, version, first);
        execution.trigger = start.trigger.clone();
        execution.variables = variables(&structure, &start.variables)?;
        execution.pins = start.pins.clone();
        let execution_id = execution.id.clone();
        let mut step = Step::new(Event::Start(Box::new(execution)));
        self.note_token(pipeline, start.token.as_deref(), &execution_id, asked, &mut step);
        self.attempt_on(pipeline, loaded, step).await?;
        Ok(execution_id)
    }

    /// Runs `stage` again with the artifacts and variables of `target`.
    /// <https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-rollback.html>
    pub async fn roll_back(
        &self,
        pipeline: &PipelineDoc,
        stage: &str,
        target: &str,
        trigger: Trigger,
        token: Option<&str>,
    ) -> Result<String, Fault> {
        retrying!(self.try_roll_back(pipeline, stage, target, &trigger, token).await)
    }

    async fn try_roll_back(
        &self,
        pipeline: &PipelineDoc,
        stage: &str,
        target: &str,
        trigger: &Trigger,
        token: Option<&str>,
    ) -> Result<String, Fault> {
        if let Some(known) = self.started_before(pipeline, token).await? {
            return Ok(known.execution);
        }
        let loaded = self.load(pipeline, Some(target)).await?;
        let version = loaded.world.board.version;
        let structure = self.structure(&pipeline.generation, version).await?;
        check_rollback(&loaded.world, &structure, stage, target)?;
        let Some(source) = loaded.world.executions.get(target) else {
            return Err(Refusal::UnknownExecution(target.to_owned()).into());
        };
        let mut execution = self.blank(&structure, version, stage.to_owned());
        execution.kind = ExecutionKind::Rollback { target: target.to_owned() };
        execution.trigger = trigger.clone();
        execution.variables = source.variables.clone();
        execution.pins = source.pins.clone();
        execution.artifacts = source.artifacts.clone();
        execution.outputs = source.outputs.clone();
        execution.revisions = source.revisions.clone();
        let execution_id = execution.id.clone();
        let mut step = Step::new(Event::Start(Box::new(execution)));
        self.note_token(pipeline, token, &execution_id, None, &mut step);
        self.attempt_on(pipeline, loaded, step).await?;
        Ok(execution_id)
    }

    async fn started_before(
        &self,
        pipeline: &PipelineDoc,
        token: Option<&str>,
    ) -> Result<Option<StartToken>, Fault> {
        let Some(token) = token else { return Ok(None) };
        let known = self.store.get::<StartToken>(&StartToken::key_of(&pipeline.generation, token)).await?;
        Ok(known.map(|known| known.into_doc()))
    }

    fn note_token(
        &self,
        pipeline: &PipelineDoc,
        token: Option<&str>,
        execution: &str,
        asked: Option<Asked>,
        step: &mut Step<'_>,
    ) {
        if let Some(token) = token {
            step.also.create(&StartToken {
                generation: pipeline.generation.clone(),
                token: token.to_owned(),
                execution: execution.to_owned(),
                asked,
            });
        }
    }

    fn blank(&self, structure: &Structure, version: i64, stage: String) -> Execution {
        let now = self.store.now();
        Execution {
            id: id::uuid(),
            sequence: 0,
            version,
            mode: structure.mode,
            kind: ExecutionKind::Standard,
            trigger: Trigger::default(),
            started: now,
            updated: now,
            variables: BTreeMap::new(),
            pins: BTreeMap::new(),
            progress: Progress::Waiting { stage },
            stages: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            outputs: BTreeMap::new(),
            revisions: Vec::new(),
        }
    }
}

/// Every declared variable with its value: as given, else its default.
fn variables(
    structure: &Structure,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ApiError> {
    for name in given.keys() {
        if !structure.variables.iter().any(|variable| variable.name == *name) {
            return Err(ApiError::validation(format!(
                "Variable '{name}' is not declared in the pipeline's definition."
            )));
        }
    }
    let mut values = BTreeMap::new();
    for variable in &structure.variables {
        match given.get(&variable.name).or(variable.default.as_ref()) {
            Some(value) => drop(values.insert(variable.name.clone(), value.clone())),
            None => {
                return Err(ApiError::validation(format!(
                    "Variable '{}' has no default value; a value must be provided when the pipeline is started.",
                    variable.name
                )));
            }
        }
    }
    Ok(values)
}

fn check_rollback(world: &World, structure: &Structure, stage: &str, target: &str) -> Result<(), Fault> {
    let unable = |why: String| Fault::Api(errors::unable_to_rollback_stage_exception(why));
    match structure.position(stage) {
        None => return Err(Refusal::UnknownStage(stage.to_owned()).into()),
        Some(0) => return Err(unable(format!("Unable to roll back stage {stage}: it is the source stage."))),
        Some(_) => {}
    }
    if structure.mode == Mode::Parallel {
        return Err(unable("Stage rollback is not available for pipelines in PARALLEL mode.".into()));
    }
    let Some(execution) = world.executions.get(target) else {
        return Err(Refusal::UnknownExecution(target.to_owned()).into());
    };
    if execution.kind != ExecutionKind::Standard {
        return Err(unable(format!(
            "Unable to roll back stage {stage}: execution {target} is itself a rollback."
        )));
    }
    if execution.version != world.board.version {
        return Err(Fault::Api(errors::pipeline_execution_outdated_exception(format!(
            "Execution {target} was started in version {} of the pipeline's structure; version {} is in force.",
            execution.version, world.board.version
        ))));
    }
    if execution.stages.get(stage).map(|run| run.status) != Some(StageStatus::Succeeded) {
        return Err(unable(format!(
            "Unable to roll back stage {stage}: execution {target} did not succeed in it."
        )));
    }
    if world.board.slots.get(stage).is_some_and(|slot| slot.occupant.is_some()) {
        return Err(unable(format!("Unable to roll back stage {stage}: the stage is currently running.")));
    }
    Ok(())
}
