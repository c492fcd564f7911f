//! A build's life, pure: `(progress, input, now) -> progress + effects`.
//!
//! Phases and their order: <https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html>.
//!
//! ```text
//! Queued ──Claimed──▶ Running ──Staged──▶ Publishing ──Published──▶ Finished
//!    │                 │  ▲ │                                          ▲
//!    │                 │  └─┴ Claimed again: the attempt before died   │
//!    └── Stop, TimedOut, Fault ──────────────────────────────────────▶ ┘
//! ```
//!
//! A build whose server died while it was `Running` starts again from scratch: nothing of it was published.
//! So does one whose sandbox broke, or whose disk was full, after a pause and a few times at most.
//! One that died while `Publishing` only goes on publishing what is staged on the disk: its commands are
//! over and never run again.

use crate::buildspec::{OnFailure, PhaseName};
use crate::reports::cut;
use serde::{Deserialize, Serialize};
use std::fmt;
use towpath_api::Timestamp;

/// How a build or a phase ended. `IN_PROGRESS` is the absence of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Succeeded,
    Failed,
    Fault,
    TimedOut,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Status::Succeeded => "SUCCEEDED",
            Status::Failed => "FAILED",
            Status::Fault => "FAULT",
            Status::TimedOut => "TIMED_OUT",
            Status::Stopped => "STOPPED",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PhaseKind {
    Submitted,
    Queued,
    Provisioning,
    DownloadSource,
    Commands(PhaseName),
    UploadArtifacts,
    Finalizing,
    Completed,
}

impl fmt::Display for PhaseKind {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            PhaseKind::Submitted => "SUBMITTED",
            PhaseKind::Queued => "QUEUED",
            PhaseKind::Provisioning => "PROVISIONING",
            PhaseKind::DownloadSource => "DOWNLOAD_SOURCE",
            PhaseKind::Commands(name) => return name.fmt(formatter),
            PhaseKind::UploadArtifacts => "UPLOAD_ARTIFACTS",
            PhaseKind::Finalizing => "FINALIZING",
            PhaseKind::Completed => "COMPLETED",
        })
    }
}

impl PhaseKind {
    /// Phases begin in this order.
    pub fn order(self) -> u8 {
        match self {
            PhaseKind::Submitted => 0,
            PhaseKind::Queued => 1,
            PhaseKind::Provisioning => 2,
            PhaseKind::DownloadSource => 3,
            PhaseKind::Commands(PhaseName::Install) => 4,
            PhaseKind::Commands(PhaseName::PreBuild) => 5,
            PhaseKind::Commands(PhaseName::Build) => 6,
            PhaseKind::Commands(PhaseName::PostBuild) => 7,
            PhaseKind::UploadArtifacts => 8,
            PhaseKind::Finalizing => 9,
            PhaseKind::Completed => 10,
        }
    }

    /// Phases that run in the sandbox carry a context even when they succeed: an empty one.
    fn has_context(self) -> bool {
        matches!(self, PhaseKind::DownloadSource | PhaseKind::Commands(_) | PhaseKind::UploadArtifacts)
    }
}

/// Of why a phase ended as it did.
pub const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// Why a phase ended as it did: `COMMAND_EXECUTION_ERROR` and a sentence. Both empty on success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    pub code: String,
    pub message: String,
}

impl Context {
    /// A message longer than [`MAX_MESSAGE_BYTES`] is cut: it goes into documents and events, which are bounded.
    pub fn new(code: &str, message: impl Into<String>) -> Context {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            message = cut(&message, MAX_MESSAGE_BYTES);
        }
        Context { code: code.to_owned(), message }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    pub kind: PhaseKind,
    pub started_at: Timestamp,
    /// `None` while it runs. COMPLETED never ends.
    pub end: Option<PhaseEnd>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseEnd {
    pub at: Timestamp,
    pub status: Status,
    pub contexts: Vec<Context>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Waits for a worker.
    Queued,
    /// A worker runs it. `attempt` counts the servers that tried; the first is 1.
    Running {
        attempt: u32,
    },
    /// The commands are over. What is to be stored is staged on the disk by `attempt`.
    Publishing {
        attempt: u32,
    },
    Finished {
        status: Status,
        at: Timestamp,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub state: State,
    pub phases: Vec<PhaseRecord>,
    /// How often what it ran on broke while its server lived.
    #[serde(default)]
    pub breakdowns: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// A worker holds the build's job.
    Claimed,
    /// The running phase ended, and `next` begins.
    PhaseDone { status: Status, context: Context, next: PhaseKind },
    /// Everything to be stored is on the disk.
    Staged,
    /// What was staged is gone with the server that had it: as if the attempt had died while it ran, so that the
    /// next claim begins another.
    Lost,
    /// Everything staged is stored, or cannot be.
    Published { status: Status, context: Context },
    /// FINALIZING is over.
    Finalized,
    /// StopBuild.
    Stop,
    /// It waited, or ran, too long.
    TimedOut,
    /// What it ran on broke, not the build: it goes on with another attempt, within bounds.
    Broke { message: String },
    /// Our own failure.
    Fault { message: String },
}

/// What must become true together with the new progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `CodeBuild Build Phase Change` for the phase at this index.
    PhaseChanged(usize),
    /// `CodeBuild Build State Change`, with the status that it has now.
    StateChanged,
    /// The build no longer counts against its project's concurrency limit, and its job is done.
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("the build is over")]
    Finished,
    #[error("the build is not at this point")]
    OutOfTurn,
}

/// After so many servers died running the same build it is the likely cause. Their deaths are far more often
/// somebody else's doing, so this only keeps a build that kills its servers from doing so for ever.
pub const MAX_DEATHS: u32 = 20;
/// After so many breakdowns the machine is not going to recover in a time that anybody waits for.
pub const MAX_BREAKDOWNS: u32 = 6;
const FIRST_PAUSE_MS: i64 = 500;

impl Progress {
    /// A build that was just submitted.
    pub fn submitted(now: Timestamp) -> (Progress, Vec<Effect>) {
        let mut progress = Progress { state: State::Queued, phases: Vec::new(), breakdowns: 0 };
        progress.enter(PhaseKind::Submitted, now);
        let mut effects = vec![Effect::StateChanged];
        progress.end(Status::Succeeded, Context::default(), now, &mut effects);
        progress.enter(PhaseKind::Queued, now);
        (progress, effects)
    }

    pub fn current(&self) -> Option<&PhaseRecord> {
        self.phases.last()
    }

    pub fn status(&self) -> Option<Status> {
        match self.state {
            State::Finished { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The worst that a phase came to so far: the build's status if it ended now.
    pub fn verdict(&self) -> Status {
        let mut ended = self.phases.iter().filter_map(|phase| phase.end.as_ref()).map(|end| end.status);
        ended.find(|status| *status != Status::Succeeded).unwrap_or(Status::Succeeded)
    }

    /// `CODEBUILD_BUILD_SUCCEEDING`.
    pub fn succeeding(&self) -> bool {
        self.verdict() == Status::Succeeded
    }

    /// How long the next attempt waits after a breakdown.
    pub fn pause_ms(&self) -> i64 {
        FIRST_PAUSE_MS << self.breakdowns.min(MAX_BREAKDOWNS)
    }

    pub fn step(&self, input: Input, now: Timestamp) -> Result<(Progress, Vec<Effect>), Rejected> {
        let mut next = self.clone();
        let mut effects = Vec::new();
        match (&self.state, input) {
            (State::Finished { .. }, _) => return Err(Rejected::Finished),
            (State::Queued, Input::Claimed) => next.begin(1, now, &mut effects),
            (State::Running { attempt }, Input::Claimed)
                if attempt.saturating_sub(self.breakdowns) >= MAX_DEATHS =>
            {
                let message =
                    format!("This build was begun {attempt} times and never ended; see the server's log.");
                next.finish(Status::Fault, Context::new("INTERNAL_ERROR", message), now, &mut effects);
            }
            (State::Running { attempt }, Input::Claimed) => next.begin(attempt + 1, now, &mut effects),
            (State::Publishing { .. }, Input::Claimed) => {}
            (State::Running { .. }, Input::PhaseDone { status, context, next: kind }) => {
                next.end(status, context, now, &mut effects);
                next.enter(kind, now);
            }
            (State::Running { attempt }, Input::Staged) => {
                next.state = State::Publishing { attempt: *attempt };
            }
            (State::Publishing { attempt }, Input::Lost) => {
                next.state = State::Running { attempt: *attempt };
            }
            (State::Publishing { .. }, Input::Published { status, context }) => {
                next.end(status, context, now, &mut effects);
                next.enter(PhaseKind::Finalizing, now);
            }
            (State::Running { .. } | State::Publishing { .. }, Input::Finalized) => {
                let verdict = next.verdict();
                next.end(Status::Succeeded, Context::default(), now, &mut effects);
                next.complete(verdict, now, &mut effects);
            }
            (State::Queued | State::Running { .. }, Input::Stop) => {
                next.finish(Status::Stopped, Context::default(), now, &mut effects);
            }
            (State::Queued | State::Running { .. }, Input::TimedOut) => {
                let message = match self.state {
                    State::Queued => "The build waited in the queue longer than its queued timeout.",
                    _ => "Build has timed out. ",
                };
                next.finish(Status::TimedOut, Context::new("BUILD_TIMED_OUT", message), now, &mut effects);
            }
            (State::Running { .. } | State::Publishing { .. }, Input::Broke { message }) => {
                next.breakdowns += 1;
                if next.breakdowns >= MAX_BREAKDOWNS {
                    next.finish(Status::Fault, Context::new("INTERNAL_ERROR", message), now, &mut effects);
                }
            }
            (_, Input::Fault { message }) => {
                next.finish(Status::Fault, Context::new("INTERNAL_ERROR", message), now, &mut effects);
            }
            _ => return Err(Rejected::OutOfTurn),
        }
        Ok((next, effects))
    }

    /// An attempt begins; what an earlier one did is forgotten.
    fn begin(&mut self, attempt: u32, now: Timestamp, effects: &mut Vec<Effect>) {
        let queued = self.phases.iter().position(|phase| phase.kind == PhaseKind::Queued);
        self.phases.truncate(queued.map_or(0, |index| index + 1));
        if self.current().is_some_and(|phase| phase.end.is_none()) {
            self.end(Status::Succeeded, Context::default(), now, effects);
        }
        self.state = State::Running { attempt };
        self.enter(PhaseKind::Provisioning, now);
    }

    fn enter(&mut self, kind: PhaseKind, now: Timestamp) {
        self.phases.push(PhaseRecord { kind, started_at: now, end: None });
    }

    fn end(&mut self, status: Status, context: Context, now: Timestamp, effects: &mut Vec<Effect>) {
        let index = self.phases.len().saturating_sub(1);
        if let Some(phase) = self.phases.last_mut().filter(|phase| phase.end.is_none()) {
            let shown = phase.kind.has_context() || context != Context::default();
            let contexts = if shown { vec![context] } else { Vec::new() };
            // A clock that jumps back must not end a phase before it began.
            let at = now.max(phase.started_at);
            phase.end = Some(PhaseEnd { at, status, contexts });
            effects.push(Effect::PhaseChanged(index));
        }
    }

    /// Ends from wherever it is.
    fn finish(&mut self, status: Status, context: Context, now: Timestamp, effects: &mut Vec<Effect>) {
        let finalizing = self.current().is_some_and(|phase| phase.kind == PhaseKind::Finalizing);
        let ran = !matches!(self.state, State::Queued);
        self.end(status, context, now, effects);
        if ran && !finalizing {
            self.enter(PhaseKind::Finalizing, now);
            self.end(Status::Succeeded, Context::default(), now, effects);
        }
        self.complete(status, now, effects);
    }

    fn complete(&mut self, status: Status, now: Timestamp, effects: &mut Vec<Effect>) {
        self.enter(PhaseKind::Completed, now);
        self.state = State::Finished { status, at: now };
        effects.push(Effect::PhaseChanged(self.phases.len() - 1));
        effects.push(Effect::StateChanged);
        effects.push(Effect::Released);
    }
}

/// What follows a phase of commands. `on_failure`'s retries are used up when it is asked here.
pub fn after(phase: PhaseName, succeeded: bool, on_failure: Option<&OnFailure>) -> PhaseKind {
    let following = match phase {
        PhaseName::Install => PhaseKind::Commands(PhaseName::PreBuild),
        PhaseName::PreBuild => PhaseKind::Commands(PhaseName::Build),
        PhaseName::Build => PhaseKind::Commands(PhaseName::PostBuild),
        PhaseName::PostBuild => PhaseKind::UploadArtifacts,
    };
    match (succeeded, on_failure) {
        (true, _) | (false, Some(OnFailure::Continue)) => following,
        (false, Some(OnFailure::Abort)) => PhaseKind::UploadArtifacts,
        (false, Some(OnFailure::Retry { .. }) | None) => match phase {
            // post_build runs after a failed build; nothing runs after a failed preparation.
            PhaseName::Build => following,
            _ => PhaseKind::UploadArtifacts,
        },
    }
}

#[cfg(test)]
mod tests;
