//! Running a stage again, by a person's wish or by `onFailure: RETRY`.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-retry.html>

use super::machine::Machine;
use super::*;

const CHANGED: &str = "The pipeline structure has changed since the execution was started.";
const NOT_FAILED: &str = "The stage has not failed or been stopped in this execution.";
const NOTHING_FAILED: &str = "The stage contains no failed actions.";

impl Machine<'_> {
    pub(super) fn retry(&mut self, id: &str, stage: &str, mode: RetryMode) -> Result<(), Refusal> {
        let execution =
            self.world.executions.get(id).ok_or_else(|| Refusal::UnknownExecution(id.to_owned()))?;
        let current = self.world.structures.get(&self.world.board.version);
        if current.is_none_or(|structure| structure.stage(stage).is_none()) {
            return Err(Refusal::UnknownStage(stage.to_owned()));
        }
        let here = match &execution.progress {
            Progress::Ended { end: End::Failed { stage: failed }, .. } => failed == stage,
            Progress::Ended { end: End::Stopped { stage: Some(stopped), .. }, .. } => stopped == stage,
            Progress::Ended { .. } => false,
            Progress::Waiting { .. } | Progress::Running { .. } => return Err(Refusal::Busy),
        };
        if !here {
            return Err(Refusal::NotRetryable(NOT_FAILED));
        }
        if !self.unchanged(id, stage) {
            return Err(Refusal::NotRetryable(CHANGED));
        }
        let execution_mode = execution.mode;
        if execution_mode != Mode::Parallel {
            let slot = self.world.board.slot(stage);
            if slot.latest.as_deref() != Some(id) {
                return Err(Refusal::NotLatest);
            }
            if slot.occupant.is_some() {
                return Err(Refusal::Busy);
            }
        }
        if mode == RetryMode::FailedActions && !self.has_unfinished(id, stage) {
            return Err(Refusal::NotRetryable(NOTHING_FAILED));
        }
        self.check_room(execution_mode)?;
        self.world.board.active.push(id.to_owned());
        if execution_mode != Mode::Parallel {
            self.world.board.slot(stage).occupant = Some(id.to_owned());
        }
        self.set_progress(id, Progress::Running { stage: stage.to_owned(), halt: None });
        self.rerun(id, stage, mode, RetryTrigger::Manual);
        Ok(())
    }

    fn has_unfinished(&self, id: &str, stage: &str) -> bool {
        let (Some(declared), Some(run)) = (self.declared(id, stage), self.run(id, stage)) else {
            return false;
        };
        declared.actions.iter().any(|action| {
            run.actions.get(&action.name).is_none_or(|run| run.status != ActionStatus::Succeeded)
        })
    }

    /// Forgets what is to run again, with what it had made, and lets the stage go on.
    pub(super) fn rerun(&mut self, id: &str, stage: &str, mode: RetryMode, trigger: RetryTrigger) {
        let Some(declared) = self.declared(id, stage) else { return };
        let Some(execution) = self.world.executions.get_mut(id) else { return };
        let Some(run) = execution.stages.get_mut(stage) else { return };
        run.actions
            .retain(|_, action| mode == RetryMode::FailedActions && action.status == ActionStatus::Succeeded);
        for action in declared.actions.iter().filter(|action| !run.actions.contains_key(&action.name)) {
            action.outputs.iter().for_each(|name| drop(execution.artifacts.remove(name)));
            execution.revisions.retain(|revision| revision.action != action.name);
            action.namespace.iter().for_each(|name| drop(execution.outputs.remove(name)));
        }
        run.status = StageStatus::InProgress;
        run.retries.latest = Some(trigger);
        match trigger {
            RetryTrigger::Automatic => run.retries.automatic += 1,
            RetryTrigger::Manual => run.retries.manual += 1,
        }
        self.say(id, PipelineState::Resumed);
        self.say_stage(id, stage, StageState::Resumed);
    }
}
