//! The decisions: [`apply`] and the settling that follows every event. See the parent's invariants.

use super::*;
use crate::structure::{OnFailure, Stage};

/// Applies one event and lets everything move that then can. The world is changed only on `Ok`.
pub fn apply(
    world: &mut World,
    event: Event,
    now: Timestamp,
    ids: &mut dyn FnMut() -> String,
) -> Result<Vec<Change>, Refusal> {
    let mut next = world.clone();
    let mut machine = Machine { world: &mut next, now, ids, changes: Vec::new() };
    machine.take(event)?;
    machine.settle();
    let changes = machine.changes;
    *world = next;
    Ok(changes)
}

pub(super) struct Machine<'a> {
    pub(super) world: &'a mut World,
    pub(super) now: Timestamp,
    ids: &'a mut dyn FnMut() -> String,
    pub(super) changes: Vec<Change>,
}

impl Machine<'_> {
    fn take(&mut self, event: Event) -> Result<(), Refusal> {
        match event {
            Event::Start(execution) => self.start(*execution),
            Event::ActionEnded { execution, stage, action_id, outcome } => {
                self.action_ended(&execution, &stage, &action_id, outcome);
                Ok(())
            }
            Event::Stop { execution, request } => self.stop(&execution, request),
            Event::Retry { execution, stage, mode } => self.retry(&execution, &stage, mode),
            Event::Transition { stage, to } => self.transition(&stage, to),
            Event::Updated { version } => {
                self.updated(version);
                Ok(())
            }
        }
    }

    fn start(&mut self, mut execution: Execution) -> Result<(), Refusal> {
        self.check_room(execution.mode)?;
        let Progress::Waiting { stage } = execution.progress.clone() else {
            return Err(Refusal::Busy);
        };
        let board = &mut self.world.board;
        execution.sequence = board.next_sequence;
        board.next_sequence += 1;
        board.active.push(execution.id.clone());
        let id = execution.id.clone();
        self.world.executions.insert(id.clone(), execution);
        self.say(&id, PipelineState::Started);
        self.arrive(&id, &stage);
        Ok(())
    }

    pub(super) fn check_room(&self, mode: Mode) -> Result<(), Refusal> {
        let full = self.world.board.active.len() >= CONCURRENT_EXECUTIONS_LIMIT;
        if full && mode != Mode::Superseded { Err(Refusal::TooManyExecutions) } else { Ok(()) }
    }

    /// Puts an execution in front of a stage. In SUPERSEDED mode only the newest stays there.
    fn arrive(&mut self, id: &str, stage: &str) {
        self.set_progress(id, Progress::Waiting { stage: stage.to_owned() });
        self.world.board.slot(stage).inbound.push(id.to_owned());
        let waiting: Vec<(u64, String)> = self
            .world
            .board
            .slot(stage)
            .inbound
            .iter()
            .filter_map(|other| self.world.executions.get(other))
            // A rollback takes nobody's place: what waits for the next release still waits afterwards.
            .filter(|execution| {
                execution.mode == Mode::Superseded && execution.kind == ExecutionKind::Standard
            })
            .map(|execution| (execution.sequence, execution.id.clone()))
            .collect();
        let Some((_, newest)) = waiting.iter().max().cloned() else { return };
        for (_, old) in waiting.into_iter().filter(|(_, other)| *other != newest) {
            self.end(&old, End::Superseded { by: newest.clone() }, PipelineState::Superseded);
        }
    }

    /// Moves executions on until nothing moves by itself. Every step starts an action, enters a stage
    /// or ends an execution, so it ends.
    fn settle(&mut self) {
        loop {
            let moved = self.world.board.active.clone().into_iter().any(|id| self.step(&id));
            if !moved {
                return;
            }
        }
    }

    fn step(&mut self, id: &str) -> bool {
        match self.world.executions.get(id).map(|execution| execution.progress.clone()) {
            Some(Progress::Waiting { stage }) => self.enter(id, &stage),
            Some(Progress::Running { stage, halt }) => self.advance(id, &stage, halt),
            _ => false,
        }
    }

    /// Enters a stage when its way is open, its lock is free and nobody is first.
    fn enter(&mut self, id: &str, stage: &str) -> bool {
        let Some(execution) = self.world.executions.get(id) else { return false };
        let (mode, rollback) = (execution.mode, matches!(execution.kind, ExecutionKind::Rollback { .. }));
        let slot = self.world.board.slot(stage);
        // A rollback does not come through the transition: it starts in the stage.
        if !slot.transition.is_open() && !rollback {
            return false;
        }
        let first = slot.inbound.first().map(String::as_str) == Some(id);
        if mode != Mode::Parallel && (slot.occupant.is_some() || !(first || rollback)) {
            return false;
        }
        slot.inbound.retain(|other| other != id);
        if mode != Mode::Parallel {
            slot.occupant = Some(id.to_owned());
        }
        slot.latest = Some(id.to_owned());
        self.set_progress(id, Progress::Running { stage: stage.to_owned(), halt: None });
        if let Some(execution) = self.world.executions.get_mut(id) {
            execution.stages.insert(stage.to_owned(), StageRun::default());
        }
        self.say_stage(id, stage, StageState::Started);
        true
    }

    /// Decides what a running stage does next; nothing while an action is in progress.
    fn advance(&mut self, id: &str, stage: &str, halt: Option<Halt>) -> bool {
        let Some(declared) = self.declared(id, stage) else { return false };
        let Some(run) = self.run(id, stage).cloned() else { return false };
        if run.is_busy() {
            return false;
        }
        let failed = run.actions.values().any(|action| action.status != ActionStatus::Succeeded);
        let pending = declared.actions.iter().filter(|action| !run.actions.contains_key(&action.name));
        let order = pending.clone().map(|action| action.run_order).min();
        match (halt, failed, order) {
            (Some(halt), failed, order) => self.halted(id, stage, halt, !failed && order.is_none()),
            (None, true, _) => self.stage_failed(id, stage, &declared),
            (None, false, None) => self.stage_succeeded(id, stage),
            (None, false, Some(order)) => {
                let names: Vec<String> = pending
                    .filter(|action| action.run_order == order)
                    .map(|action| action.name.clone())
                    .collect();
                names.iter().for_each(|name| self.start_action(id, stage, name));
            }
        }
        true
    }

    fn start_action(&mut self, id: &str, stage: &str, name: &str) {
        let action_id = (self.ids)();
        let reference = ActionRef { execution: id.to_owned(), action_id: action_id.clone() };
        self.world.board.slot(stage).actions.insert(name.to_owned(), reference);
        if let Some(run) = self.run_mut(id, stage) {
            let started = ActionRun { id: action_id.clone(), status: ActionStatus::InProgress };
            run.actions.insert(name.to_owned(), started);
        }
        self.changes.push(Change::ActionStarted {
            execution: id.to_owned(),
            stage: stage.to_owned(),
            action: name.to_owned(),
            id: action_id,
        });
    }

    fn action_ended(&mut self, id: &str, stage: &str, action_id: &str, outcome: Outcome) {
        let status = match outcome {
            Outcome::Succeeded(_) => ActionStatus::Succeeded,
            Outcome::Failed => ActionStatus::Failed,
        };
        // An action that was abandoned, or is told twice, changes nothing.
        let Some(run) = self.run_mut(id, stage) else { return };
        let Some((name, action)) = run
            .actions
            .iter_mut()
            .find(|(_, action)| action.id == action_id && action.status == ActionStatus::InProgress)
        else {
            return;
        };
        action.status = status;
        let name = name.clone();
        if let Outcome::Succeeded(products) = outcome {
            self.keep(id, stage, &name, *products);
        }
        self.touch(id);
        self.changes.push(Change::ActionEnded {
            execution: id.to_owned(),
            stage: stage.to_owned(),
            action: name,
            id: action_id.to_owned(),
            status,
        });
    }

    fn keep(&mut self, id: &str, stage: &str, name: &str, products: Products) {
        let namespace = self
            .declared(id, stage)
            .and_then(|declared| declared.action(name).and_then(|action| action.namespace.clone()));
        let Some(execution) = self.world.executions.get_mut(id) else { return };
        execution.artifacts.extend(products.artifacts);
        if let Some(namespace) = namespace {
            execution.outputs.insert(namespace, products.variables);
        }
        if let Some(revision) = products.revision {
            execution.revisions.retain(|known| known.action != revision.action);
            execution.revisions.push(revision);
        }
    }

    fn stage_succeeded(&mut self, id: &str, stage: &str) {
        self.set_stage(id, stage, StageStatus::Succeeded);
        self.say_stage(id, stage, StageState::Succeeded);
        self.world.board.slot(stage).last_succeeded = Some(id.to_owned());
        self.release(id, stage);
        match self.next_stage(id, stage) {
            Some(next) => self.arrive(id, &next),
            None => self.end(id, End::Succeeded, PipelineState::Succeeded),
        }
    }

    fn stage_failed(&mut self, id: &str, stage: &str, declared: &Stage) {
        let retried = self.run(id, stage).is_some_and(|run| run.retries.automatic > 0);
        if let (Some(OnFailure::Retry(mode)), false) = (declared.on_failure, retried) {
            self.rerun(id, stage, mode, RetryTrigger::Automatic);
            return;
        }
        self.set_stage(id, stage, StageStatus::Failed);
        self.say_stage(id, stage, StageState::Failed);
        self.release(id, stage);
        self.end(id, End::Failed { stage: stage.to_owned() }, PipelineState::Failed);
        let standard =
            self.world.executions.get(id).map(|known| &known.kind) == Some(&ExecutionKind::Standard);
        let target = self.world.board.slot(stage).last_succeeded.clone();
        if let (Some(OnFailure::Rollback), true, Some(target)) = (declared.on_failure, standard, target) {
            let (execution, stage) = (id.to_owned(), stage.to_owned());
            self.changes.push(Change::RollBack { execution, stage, target });
        }
    }

    fn halted(&mut self, id: &str, stage: &str, halt: Halt, complete: bool) {
        let (status, state, end, pipeline) = match halt {
            Halt::Stop(request) => (
                StageStatus::Stopped,
                StageState::Stopped,
                End::Stopped { stage: Some(stage.to_owned()), request },
                PipelineState::Stopped,
            ),
            Halt::Cancel { version } => (
                StageStatus::Cancelled,
                StageState::Canceled,
                End::Cancelled { version },
                PipelineState::Canceled,
            ),
        };
        // Everything that the stage had to do is done: the stage succeeded, the execution did not.
        let (status, state) =
            if complete { (StageStatus::Succeeded, StageState::Succeeded) } else { (status, state) };
        self.set_stage(id, stage, status);
        self.say_stage(id, stage, state);
        self.release(id, stage);
        self.end(id, end, pipeline);
    }

    fn stop(&mut self, id: &str, request: StopRequest) -> Result<(), Refusal> {
        let execution =
            self.world.executions.get(id).ok_or_else(|| Refusal::UnknownExecution(id.to_owned()))?;
        match execution.progress.clone() {
            Progress::Ended { .. } => return Err(Refusal::NotStoppable),
            Progress::Waiting { .. } => {
                self.end(id, End::Stopped { stage: None, request }, PipelineState::Stopped);
            }
            Progress::Running { stage, halt } => {
                if let Some(Halt::Stop(earlier)) = &halt
                    && (earlier.abandon || !request.abandon)
                {
                    return Err(Refusal::DuplicateStop);
                }
                let (abandon, first) = (request.abandon, !matches!(halt, Some(Halt::Stop(_))));
                let halt = Some(Halt::Stop(request));
                self.set_progress(id, Progress::Running { stage: stage.clone(), halt });
                self.set_stage(id, &stage, StageStatus::Stopping);
                if first {
                    self.say(id, PipelineState::Stopping);
                    self.say_stage(id, &stage, StageState::Stopping);
                }
                if abandon {
                    self.abandon(id, &stage);
                }
            }
        }
        Ok(())
    }

    fn abandon(&mut self, id: &str, stage: &str) {
        let Some(run) = self.run_mut(id, stage) else { return };
        let mut abandoned = Vec::new();
        for (name, action) in &mut run.actions {
            if action.status == ActionStatus::InProgress {
                action.status = ActionStatus::Abandoned;
                abandoned.push((name.clone(), action.id.clone()));
            }
        }
        for (action, action_id) in abandoned {
            self.changes.push(Change::ActionEnded {
                execution: id.to_owned(),
                stage: stage.to_owned(),
                action,
                id: action_id,
                status: ActionStatus::Abandoned,
            });
        }
    }

    fn transition(&mut self, stage: &str, to: Transition) -> Result<(), Refusal> {
        let current = self.world.structures.get(&self.world.board.version);
        if current.is_none_or(|structure| structure.stage(stage).is_none()) {
            return Err(Refusal::UnknownStage(stage.to_owned()));
        }
        self.world.board.slot(stage).transition = to;
        Ok(())
    }

    /// An execution goes on only if all that it still has before it is as it was when it started.
    fn updated(&mut self, version: i64) {
        self.world.board.version = version;
        for id in self.world.board.active.clone() {
            let Some(execution) = self.world.executions.get(&id) else { continue };
            let Some(stage) = execution.stage().map(str::to_owned) else { continue };
            if self.unchanged(&id, &stage) {
                continue;
            }
            match &execution.progress {
                Progress::Running { halt: Some(_), .. } | Progress::Ended { .. } => {}
                Progress::Waiting { .. } => {
                    self.end(&id, End::Cancelled { version }, PipelineState::Canceled);
                }
                Progress::Running { .. } => {
                    let halt = Some(Halt::Cancel { version });
                    self.set_progress(&id, Progress::Running { stage, halt });
                }
            }
        }
        let Some(structure) = self.world.structures.get(&version).cloned() else { return };
        self.world
            .board
            .slots
            .retain(|name, slot| structure.stage(name).is_some() || slot.occupant.is_some());
    }

    /// Whether `stage` and all that follow are the same in the execution's version and the current one.
    pub(super) fn unchanged(&self, id: &str, stage: &str) -> bool {
        let Some(execution) = self.world.executions.get(id) else { return false };
        let versions = &self.world.structures;
        let (Some(own), Some(current)) =
            (versions.get(&execution.version), versions.get(&self.world.board.version))
        else {
            return false;
        };
        match execution.kind {
            ExecutionKind::Rollback { .. } => own.stage(stage) == current.stage(stage),
            ExecutionKind::Standard => own.from(stage) == current.from(stage),
        }
    }

    fn next_stage(&self, id: &str, stage: &str) -> Option<String> {
        let execution = self.world.executions.get(id)?;
        if execution.kind != ExecutionKind::Standard {
            return None;
        }
        let structure = self.world.structures.get(&execution.version)?;
        structure.from(stage).get(1).map(|next| next.name.clone())
    }

    fn release(&mut self, id: &str, stage: &str) {
        let slot = self.world.board.slot(stage);
        if slot.occupant.as_deref() == Some(id) {
            slot.occupant = None;
        }
    }

    fn end(&mut self, id: &str, end: End, state: PipelineState) {
        let at = self.now;
        self.set_progress(id, Progress::Ended { at, end });
        let board = &mut self.world.board;
        board.active.retain(|other| other != id);
        board.slots.values_mut().for_each(|slot| slot.inbound.retain(|other| other != id));
        self.say(id, state);
    }

    pub(super) fn set_progress(&mut self, id: &str, progress: Progress) {
        let now = self.now;
        if let Some(execution) = self.world.executions.get_mut(id) {
            execution.progress = progress;
            execution.updated = now;
        }
    }

    fn touch(&mut self, id: &str) {
        let now = self.now;
        if let Some(execution) = self.world.executions.get_mut(id) {
            execution.updated = now;
        }
    }

    pub(super) fn set_stage(&mut self, id: &str, stage: &str, status: StageStatus) {
        if let Some(run) = self.run_mut(id, stage) {
            run.status = status;
        }
    }

    pub(super) fn run(&self, id: &str, stage: &str) -> Option<&StageRun> {
        self.world.executions.get(id)?.stages.get(stage)
    }

    pub(super) fn run_mut(&mut self, id: &str, stage: &str) -> Option<&mut StageRun> {
        self.world.executions.get_mut(id)?.stages.get_mut(stage)
    }

    /// The stage as the execution's own version declares it.
    pub(super) fn declared(&self, id: &str, stage: &str) -> Option<Stage> {
        let execution = self.world.executions.get(id)?;
        self.world.structures.get(&execution.version)?.stage(stage).cloned()
    }

    pub(super) fn say(&mut self, id: &str, state: PipelineState) {
        self.changes.push(Change::Pipeline { execution: id.to_owned(), state });
    }

    pub(super) fn say_stage(&mut self, id: &str, stage: &str, state: StageState) {
        self.changes.push(Change::Stage { execution: id.to_owned(), stage: stage.to_owned(), state });
    }
}
