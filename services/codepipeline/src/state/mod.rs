//! How executions move through a pipeline, as data: the [`Board`] (one per pipeline: who holds each
//! stage, who waits, which transitions are closed) and the [`Execution`]s on it. [`machine::apply`]
//! turns `(world, event, now)` into a new world and a list of [`Change`]s; nothing here does I/O.
//!
//! Invariants, each held by a test in this folder:
//! - a stage holds at most one execution (PARALLEL executions hold none);
//! - within a stage, an action starts only after every action of a lower run order has succeeded;
//! - a failed action ends its stage as soon as its parallel siblings have ended;
//! - an execution runs one version of the structure from its start to its end.
//!
//! Rules: <https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html>.

pub mod machine;
#[cfg(test)]
mod properties;
mod retry;
#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;

use crate::structure::{Mode, Structure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use towpath_api::Timestamp;

/// At most so many executions of one QUEUED or PARALLEL pipeline at a time.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html>
pub const CONCURRENT_EXECUTIONS_LIMIT: usize = 50;

/// What one pipeline's executions share. Bounded by the structure and [`CONCURRENT_EXECUTIONS_LIMIT`],
/// never by the history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// The structure's version in force.
    pub version: i64,
    pub next_sequence: u64,
    /// Executions that have not ended, oldest first.
    pub active: Vec<String>,
    /// By stage name. A stage that nothing ever touched may be absent.
    pub slots: BTreeMap<String, Slot>,
}

/// One stage of the board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    pub transition: Transition,
    /// The execution that holds the stage's lock.
    pub occupant: Option<String>,
    /// Executions in front of the stage, in the order of arrival.
    pub inbound: Vec<String>,
    /// The execution that entered last.
    pub latest: Option<String>,
    /// The last execution that succeeded here: what an automatic rollback goes back to.
    pub last_succeeded: Option<String>,
    /// The latest run of each action, by its name.
    pub actions: BTreeMap<String, ActionRef>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRef {
    pub execution: String,
    pub action_id: String,
}

/// The way into a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Transition {
    /// Never touched.
    #[default]
    Open,
    Enabled {
        by: String,
        at: Timestamp,
    },
    Disabled {
        reason: String,
        by: String,
        at: Timestamp,
    },
}

/// One run of the pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    pub id: String,
    /// The order in which executions of a pipeline were started: the higher is the newer.
    pub sequence: u64,
    /// The structure's version at the start.
    pub version: i64,
    pub mode: Mode,
    pub kind: ExecutionKind,
    pub trigger: Trigger,
    pub started: Timestamp,
    pub updated: Timestamp,
    pub variables: BTreeMap<String, String>,
    /// Source revisions fixed at the start, by action: overrides, or what the trigger's event named.
    pub pins: BTreeMap<String, SourcePin>,
    pub progress: Progress,
    /// Stages that were entered.
    pub stages: BTreeMap<String, StageRun>,
    /// What was made so far, by artifact name.
    pub artifacts: BTreeMap<String, Artifact>,
    /// Output variables by namespace.
    pub outputs: BTreeMap<String, BTreeMap<String, String>>,
    /// One per source action that has succeeded.
    pub revisions: Vec<SourceRevision>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutionKind {
    Standard,
    /// Runs one stage again with another execution's artifacts and variables.
    Rollback {
        target: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// One of the model's `TriggerType`s.
    pub kind: String,
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourcePin {
    CommitId(String),
    S3VersionId(String),
    S3ObjectKey(String),
    GitTag(String),
    /// The branch that was pushed, with the commit that it then pointed to.
    GitRef {
        name: String,
        commit: String,
    },
}

/// An immutable zip in the artifact store. What it hashed to when it was made is kept with it, so that
/// every later use can prove that it is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
    pub etag: String,
    pub sha256: String,
    /// The commit or the S3 version that it was made from.
    pub revision: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRevision {
    pub action: String,
    pub artifact: String,
    pub revision_id: String,
    pub summary: Option<String>,
    pub url: Option<String>,
    pub created: Option<Timestamp>,
}

/// Where an execution is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Progress {
    /// In front of a stage: its lock is held, its transition is closed, or others are first.
    Waiting {
        stage: String,
    },
    Running {
        stage: String,
        halt: Option<Halt>,
    },
    Ended {
        at: Timestamp,
        end: End,
    },
}

/// Why nothing further starts in a running stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Halt {
    Stop(StopRequest),
    /// The structure changed in what the execution still had before it.
    Cancel {
        version: i64,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StopRequest {
    pub abandon: bool,
    pub reason: Option<String>,
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum End {
    Succeeded,
    Failed {
        stage: String,
    },
    /// `stage` is where it was, `None` if it had not entered any.
    Stopped {
        stage: Option<String>,
        request: StopRequest,
    },
    Superseded {
        by: String,
    },
    Cancelled {
        version: i64,
    },
}

/// An execution's passage through one stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRun {
    pub status: StageStatus,
    /// Actions that were started in the latest attempt, or kept from an earlier one.
    pub actions: BTreeMap<String, ActionRun>,
    pub retries: Retries,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageStatus {
    #[default]
    InProgress,
    Stopping,
    Stopped,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    pub automatic: u32,
    pub manual: u32,
    pub latest: Option<RetryTrigger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryTrigger {
    Automatic,
    Manual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryMode {
    FailedActions,
    AllActions,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRun {
    pub id: String,
    pub status: ActionStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionStatus {
    InProgress,
    Succeeded,
    Failed,
    Abandoned,
}

/// Everything a decision may look at: the board, the executions on it (and the ended one that an event
/// names), and every structure version that one of them runs.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub board: Board,
    pub executions: BTreeMap<String, Execution>,
    pub structures: BTreeMap<i64, Arc<Structure>>,
}

/// What happens to a pipeline.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new execution, `Waiting` in front of its first stage; its sequence is given here.
    Start(Box<Execution>),
    ActionEnded {
        execution: String,
        stage: String,
        action_id: String,
        outcome: Outcome,
    },
    Stop {
        execution: String,
        request: StopRequest,
    },
    Retry {
        execution: String,
        stage: String,
        mode: RetryMode,
    },
    Transition {
        stage: String,
        to: Transition,
    },
    /// Another version of the structure is in force.
    Updated {
        version: i64,
    },
}

/// How an action ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Outcome {
    Succeeded(Box<Products>),
    #[default]
    Failed,
}

/// What a successful action leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Products {
    pub artifacts: BTreeMap<String, Artifact>,
    pub variables: BTreeMap<String, String>,
    pub revision: Option<SourceRevision>,
}

/// What became true, in order. Each is an event for others; some are work to begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Pipeline {
        execution: String,
        state: PipelineState,
    },
    Stage {
        execution: String,
        stage: String,
        state: StageState,
    },
    ActionStarted {
        execution: String,
        stage: String,
        action: String,
        id: String,
    },
    ActionEnded {
        execution: String,
        stage: String,
        action: String,
        id: String,
        status: ActionStatus,
    },
    /// The stage failed and declares a rollback: go back to `target`.
    RollBack {
        execution: String,
        stage: String,
        target: String,
    },
}

/// Pipeline states as events name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineState {
    Started,
    Resumed,
    Stopping,
    Stopped,
    Succeeded,
    Failed,
    Superseded,
    Canceled,
}

/// Stage states as events name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageState {
    Started,
    Resumed,
    Stopping,
    Stopped,
    Succeeded,
    Failed,
    Canceled,
}

/// Why an event cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("execution {0} is not on the board")]
    UnknownExecution(String),
    #[error("stage {0} does not exist")]
    UnknownStage(String),
    #[error("the pipeline has reached the limit for concurrent pipeline executions")]
    TooManyExecutions,
    #[error("the execution has ended")]
    NotStoppable,
    #[error("the execution is already stopping")]
    DuplicateStop,
    #[error("the stage is running")]
    Busy,
    #[error("{0}")]
    NotRetryable(&'static str),
    #[error("a newer execution has entered the stage")]
    NotLatest,
    #[error("the last stage has no outbound transition")]
    NoOutbound,
}

impl Execution {
    pub fn is_active(&self) -> bool {
        !matches!(self.progress, Progress::Ended { .. })
    }

    /// The stage in which it runs or in front of which it waits.
    pub fn stage(&self) -> Option<&str> {
        match &self.progress {
            Progress::Waiting { stage } | Progress::Running { stage, .. } => Some(stage),
            Progress::Ended { .. } => None,
        }
    }
}

impl StageRun {
    pub fn is_busy(&self) -> bool {
        self.actions.values().any(|run| run.status == ActionStatus::InProgress)
    }
}

impl Board {
    pub fn slot(&mut self, stage: &str) -> &mut Slot {
        self.slots.entry(stage.to_owned()).or_default()
    }
}

impl Transition {
    pub fn is_open(&self) -> bool {
        !matches!(self, Transition::Disabled { .. })
    }
}
