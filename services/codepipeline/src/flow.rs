//! From decisions to storage: loads a pipeline's [`World`], applies one event, and commits the board,
//! the executions, the action executions, their index entries, the events and the jobs in one
//! transaction. Crash: nothing was committed, or all of it.
//!
//! Every commit replaces the board, so two transitions of one pipeline never both succeed on the same
//! picture: the slower one gets a conflict, loads again and decides again ([`retrying`]).

use crate::error::Fault;
use crate::state::machine::apply;
use crate::state::{ActionStatus, Change, Event, Execution, PipelineState, StageState, World};
use crate::store::*;
use crate::structure::{self, Provider, Structure};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use towpath_api::id;
use towpath_store::{Document, Job, Lease, Store, Txn, Versioned};

/// How often a transition is decided again because another one was faster.
pub const ROUNDS: usize = 200;
/// Parsed structures that are kept.
const CACHED_STRUCTURES: usize = 512;

/// Storage with the state machine on top.
pub struct Flow {
    pub store: Store,
    structures: Mutex<HashMap<String, Arc<Structure>>>,
}

/// One event with what is to be committed along with it.
pub struct Step<'a> {
    pub event: Event,
    /// An execution that the event names and that may have ended.
    pub touched: Option<&'a str>,
    /// The action execution that the event ends, as it was read and as it is to be.
    pub finished: Option<(Versioned<ActionDoc>, ActionDoc)>,
    /// Commit only while this is held.
    pub lease: Option<&'a Lease>,
    /// The structure that [`Event::Updated`] puts in force.
    pub updated: Option<Arc<Structure>>,
    pub also: Txn,
}

impl<'a> Step<'a> {
    pub fn new(event: Event) -> Step<'a> {
        Step { event, touched: None, finished: None, lease: None, updated: None, also: Txn::new() }
    }

    pub fn touching(mut self, execution: &'a str) -> Step<'a> {
        self.touched = Some(execution);
        self
    }
}

/// What a decision was based on.
pub struct Loaded {
    pub board: Versioned<BoardDoc>,
    executions: BTreeMap<String, Versioned<ExecutionDoc>>,
    pub world: World,
}

impl Flow {
    pub fn new(store: Store) -> Flow {
        Flow { store, structures: Mutex::default() }
    }

    pub async fn pipeline(&self, id: &PipelineId) -> Result<Versioned<PipelineDoc>, Fault> {
        self.store
            .get::<PipelineDoc>(&id.key())
            .await?
            .ok_or_else(|| Fault::NoPipeline { account: id.account.clone(), name: id.name.clone() })
    }

    /// The same without its declaration.
    pub async fn pipeline_head(&self, id: &PipelineId) -> Result<PipelineHead, Fault> {
        let found = self.store.get::<PipelineHead>(&id.key()).await?;
        found
            .map(Versioned::into_doc)
            .ok_or_else(|| Fault::NoPipeline { account: id.account.clone(), name: id.name.clone() })
    }

    pub async fn execution(&self, pipeline: &PipelineDoc, execution: &str) -> Result<ExecutionDoc, Fault> {
        self.execution_of(&pipeline.generation, &pipeline.id, execution).await
    }

    /// An execution of a generation, also where its pipeline was deleted.
    pub async fn execution_of(
        &self,
        generation: &str,
        id: &PipelineId,
        execution: &str,
    ) -> Result<ExecutionDoc, Fault> {
        let found = self.store.get::<ExecutionDoc>(&ExecutionDoc::key_of(generation, execution)).await?;
        found
            .map(Versioned::into_doc)
            .ok_or_else(|| Fault::NoExecution { name: id.name.clone(), execution: execution.to_owned() })
    }

    /// The structure of one version, parsed. Versions never change, so they are kept.
    pub async fn structure(&self, generation: &str, version: i64) -> Result<Arc<Structure>, Fault> {
        let key = VersionDoc::key_of(generation, version);
        if let Some(known) = self.structures.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let doc = self.store.get::<VersionDoc>(&key).await?.ok_or_else(|| {
            towpath_api::ApiError::internal(format!(
                "version {version} of generation {generation} is not stored"
            ))
        })?;
        let context = structure::Context { region: &doc.region, custom: &doc.custom };
        let parsed = Arc::new(structure::parse(&doc.declaration, &context)?);
        let mut cache = self.structures.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_STRUCTURES {
            cache.clear();
        }
        cache.insert(key, parsed.clone());
        Ok(parsed)
    }

    pub async fn load(&self, pipeline: &PipelineDoc, touched: Option<&str>) -> Result<Loaded, Fault> {
        let board = self.board(pipeline).await?;
        let mut executions = BTreeMap::new();
        let ids = board.board.active.iter().map(String::as_str).chain(touched);
        for id in ids.map(str::to_owned).collect::<std::collections::BTreeSet<_>>() {
            let key = ExecutionDoc::key_of(&pipeline.generation, &id);
            if let Some(found) = self.store.get::<ExecutionDoc>(&key).await? {
                executions.insert(id, found);
            }
        }
        let mut world = World { board: board.board.clone(), ..World::default() };
        let versions = executions.values().map(|found| found.execution.version).chain([board.board.version]);
        for version in versions.collect::<std::collections::BTreeSet<_>>() {
            world.structures.insert(version, self.structure(&pipeline.generation, version).await?);
        }
        world.executions =
            executions.iter().map(|(id, found)| (id.clone(), found.execution.clone())).collect();
        Ok(Loaded { board, executions, world })
    }

    pub async fn board(&self, pipeline: &PipelineDoc) -> Result<Versioned<BoardDoc>, Fault> {
        self.board_of(&pipeline.id, &pipeline.generation).await
    }

    pub async fn board_of(&self, id: &PipelineId, generation: &str) -> Result<Versioned<BoardDoc>, Fault> {
        let board = self.store.get::<BoardDoc>(&id.key()).await?;
        board
            .filter(|board| board.generation == generation)
            .ok_or_else(|| Fault::NoPipeline { account: id.account.clone(), name: id.name.clone() })
    }

    /// Loads, decides and commits once. A conflict is the caller's to retry.
    pub async fn attempt(&self, pipeline: &PipelineDoc, step: Step<'_>) -> Result<Vec<Change>, Fault> {
        let loaded = self.load(pipeline, step.touched).await?;
        self.attempt_on(pipeline, loaded, step).await
    }

    pub async fn attempt_on(
        &self,
        pipeline: &PipelineDoc,
        loaded: Loaded,
        mut step: Step<'_>,
    ) -> Result<Vec<Change>, Fault> {
        let mut world = loaded.world.clone();
        if let (Event::Updated { version }, Some(structure)) = (&step.event, &step.updated) {
            world.structures.insert(*version, structure.clone());
        }
        let changes = apply(&mut world, step.event.clone(), self.store.now(), &mut id::uuid)?;
        let mut txn = std::mem::take(&mut step.also);
        if let Some(lease) = step.lease {
            txn.guard(lease);
        }
        let board = BoardDoc {
            id: pipeline.id.clone(),
            generation: pipeline.generation.clone(),
            board: world.board.clone(),
        };
        txn.replace(&loaded.board, &board);
        for (id, execution) in &world.executions {
            let doc = ExecutionDoc { generation: pipeline.generation.clone(), execution: execution.clone() };
            match loaded.executions.get(id) {
                None => drop(txn.create(&doc)),
                Some(old) if old.execution != *execution => drop(txn.replace(old, &doc)),
                Some(_) => {}
            }
        }
        for change in &changes {
            let held = step.lease.is_some();
            self.write(pipeline, &world, change, (&mut step.finished, held), &mut txn).await?;
        }
        self.store.commit(txn).await?;
        Ok(changes)
    }

    async fn write(
        &self,
        pipeline: &PipelineDoc,
        world: &World,
        change: &Change,
        (finished, held): (&mut Option<(Versioned<ActionDoc>, ActionDoc)>, bool),
        txn: &mut Txn,
    ) -> Result<(), Fault> {
        let now = self.store.now();
        let id = &pipeline.id;
        let generation = &pipeline.generation;
        let name = match change {
            Change::Pipeline { execution, .. }
            | Change::Stage { execution, .. }
            | Change::ActionStarted { execution, .. }
            | Change::ActionEnded { execution, .. }
            | Change::RollBack { execution, .. } => execution,
        };
        let Some(execution) = world.executions.get(name) else { return Ok(()) };
        match change {
            Change::Pipeline { state, .. } => {
                if *state == PipelineState::Started {
                    txn.create(&ExecutionIndex {
                        generation: generation.clone(),
                        sequence: execution.sequence,
                        execution: execution.id.clone(),
                    });
                }
                txn.emit(crate::events::pipeline(id, execution, *state, now));
            }
            Change::Stage { stage, state, .. } => {
                if *state == StageState::Succeeded {
                    txn.put(&SucceededIndex {
                        generation: generation.clone(),
                        version: execution.version,
                        stage: stage.clone(),
                        sequence: execution.sequence,
                        execution: execution.id.clone(),
                    });
                }
                txn.emit(crate::events::stage(id, execution, stage, *state, now));
            }
            Change::ActionStarted { stage, action, id, .. } => {
                self.write_started(pipeline, world, (name, stage, action, id), txn);
            }
            Change::ActionEnded { id, status, .. } => {
                self.write_ended(world, (generation, execution), (id, *status, held), finished, txn).await?;
            }
            Change::RollBack { stage, target, .. } => {
                let payload = serde_json::json!({
                    "pipeline": id, "generation": generation, "rollback": {
                        "stage": stage, "target": target, "failed": name,
                    },
                });
                let attempt = execution.stages.get(stage).map_or(0, |run| run.retries.manual);
                let key = towpath_store::key(&["rollback", generation, name, stage, &attempt.to_string()]);
                txn.enqueue(Job::new(STARTS, key, now).with_payload(payload));
            }
        }
        Ok(())
    }

    async fn write_ended(
        &self,
        world: &World,
        (generation, execution): (&str, &Execution),
        (action_id, status, held): (&str, ActionStatus, bool),
        finished: &mut Option<(Versioned<ActionDoc>, ActionDoc)>,
        txn: &mut Txn,
    ) -> Result<(), Fault> {
        let now = self.store.now();
        let (old, mut doc) = match finished.take() {
            Some((old, doc)) if doc.id == action_id => (old, doc),
            other => {
                *finished = other;
                let Some(old) =
                    self.store.get::<ActionDoc>(&ActionDoc::key_of(generation, action_id)).await?
                else {
                    return Ok(());
                };
                let doc = old.doc.clone();
                (old, doc)
            }
        };
        doc.status = status;
        doc.updated = now;
        // Abandoned: what runs outside is told to stop. Ended by a person or a worker: its timer is no
        // longer needed. In both cases the job sees to it. One that ended its own action completes.
        if status == ActionStatus::Abandoned || !held {
            txn.enqueue(Job::new(ACTIONS, doc.key(), now));
        }
        let stage =
            world.structures.get(&execution.version).and_then(|structure| structure.stage(&doc.stage));
        let declared = stage.and_then(|stage| stage.action(&doc.action));
        txn.emit(crate::events::action(&doc, declared, execution, now));
        txn.replace(&old, &doc);
        Ok(())
    }

    fn write_started(
        &self,
        pipeline: &PipelineDoc,
        world: &World,
        (execution, stage, action, action_id): (&str, &str, &str, &str),
        txn: &mut Txn,
    ) {
        let now = self.store.now();
        let Some(execution) = world.executions.get(execution) else { return };
        let declared = world.structures.get(&execution.version).and_then(|structure| structure.stage(stage));
        let Some(declared) = declared.and_then(|stage| stage.action(action)) else { return };
        let minutes = declared.timeout_minutes.unwrap_or(declared.provider.default_timeout_minutes());
        let external = match declared.provider {
            Provider::Approval => External::Approval { token: id::uuid() },
            _ => External::None,
        };
        let doc = ActionDoc {
            id: action_id.to_owned(),
            pipeline: pipeline.id.clone(),
            generation: pipeline.generation.clone(),
            version: execution.version,
            execution: execution.id.clone(),
            stage: stage.to_owned(),
            action: action.to_owned(),
            started: now,
            updated: now,
            deadline: now.plus_millis(i64::from(minutes) * 60_000),
            status: ActionStatus::InProgress,
            resolved: None,
            inputs: BTreeMap::new(),
            external,
            summary: None,
            percent: None,
            updated_by: None,
            error: None,
            log_stream_arn: None,
            products: Default::default(),
        };
        txn.create(&doc);
        for of in ["all", execution.id.as_str()] {
            txn.create(&ActionIndex {
                generation: doc.generation.clone(),
                of: of.to_owned(),
                started: now,
                action_id: doc.id.clone(),
            });
        }
        txn.emit(crate::events::action(&doc, Some(declared), execution, now));
        txn.enqueue(Job::new(ACTIONS, doc.key(), now));
    }
}

/// Whether a transition lost a race and is to be decided again.
pub fn is_conflict(fault: &Fault) -> bool {
    matches!(fault, Fault::Store(error) if error.is_conflict())
}

/// Runs an attempt until it meets no conflict, at most [`ROUNDS`] times.
#[macro_export]
macro_rules! retrying {
    ($attempt:expr) => {{
        let mut round = 0;
        loop {
            match $attempt {
                Err(fault) if $crate::flow::is_conflict(&fault) && round < $crate::flow::ROUNDS => {
                    round += 1;
                    tokio::task::yield_now().await;
                }
                result => break result,
            }
        }
    }};
}
