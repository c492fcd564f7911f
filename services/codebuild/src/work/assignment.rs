//! The port between an attempt at a build and whoever keeps the build: all that the machine that runs the
//! commands may ask for. [`super::local`] answers in the server's own process; a worker's side goes over
//! HTTP. It is narrow on purpose: a machine that runs builds names no bucket, repository or log stream; it
//! asks for the sources of the build that it holds, and hands over what the build left.
//!
//! **Invariant**: whoever lost the build's lease changes nothing by any of these.

use super::log::Log;
use super::publish::Manifest;
use super::source::{BuildspecFailure, SourceError, SourcePlan};
use crate::AdvanceError;
use crate::state::{Context, Input, PhaseKind, Rejected, Status};
use crate::store::{BuildDoc, StoredArtifact};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use towpath_api::{ApiError, SessionCredentials, Timestamp, async_trait};
use towpath_api_logs::InputLogEvent;
use towpath_store::StoreError;

/// Why an attempt did not come to its end by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    #[error("the job is someone else's, or the build is over")]
    Lost,
    #[error(transparent)]
    Store(StoreError),
    /// What the attempt ran on broke: its sandbox, its disk. Another attempt may well get through.
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    Fault(String),
    #[error("the build's time is up")]
    TimedOut,
}

impl From<AdvanceError> for Stopped {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::Gone | AdvanceError::Rejected(Rejected::Finished) => Stopped::Lost,
            AdvanceError::Rejected(error) => Stopped::Fault(error.to_string()),
            AdvanceError::Store(error) if error.is_lease_lost() => Stopped::Lost,
            AdvanceError::Store(error) => Stopped::Store(error),
        }
    }
}

/// A step of the build's state machine, with what became known by it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub input: Input,
    pub facts: Facts,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Facts {
    Nothing,
    /// The commit that was downloaded.
    SourceVersion(Option<String>),
    /// What the commands left.
    Left {
        exported: Vec<(String, String)>,
        artifacts: Option<StoredArtifact>,
        secondary: Vec<StoredArtifact>,
    },
    /// What was stored of it.
    Stored {
        report_arns: Vec<String>,
        uploaded: bool,
    },
}

impl Step {
    pub fn plain(input: Input) -> Step {
        Step { input, facts: Facts::Nothing }
    }

    pub fn phase_done(status: Status, context: Context, next: PhaseKind) -> Step {
        Step::plain(Input::PhaseDone { status, context, next })
    }

    pub fn staged(manifest: &Manifest) -> Step {
        let facts = Facts::Left {
            exported: manifest.exported.clone(),
            artifacts: manifest.artifacts.clone(),
            secondary: manifest.secondary.clone(),
        };
        Step { input: Input::Staged, facts }
    }

    /// Writes the facts down; the input for the state machine.
    pub fn apply(&self, doc: &mut BuildDoc) -> Input {
        match self.facts.clone() {
            Facts::Nothing => {}
            Facts::SourceVersion(version) => doc.resolved_source_version = version,
            Facts::Left { exported, artifacts, secondary } => {
                doc.exported = exported;
                doc.artifacts = artifacts;
                doc.secondary_artifacts = secondary;
            }
            Facts::Stored { report_arns, uploaded } => {
                doc.report_arns = report_arns;
                if !uploaded {
                    doc.artifacts = None;
                    doc.secondary_artifacts.clear();
                }
            }
        }
        self.input.clone()
    }
}

/// What the service role gives before anything runs.
pub(crate) struct Opened {
    /// For the commands. `None`: they get none.
    pub credentials: Option<SessionCredentials>,
    pub log: Arc<dyn LogSink>,
}

/// What the service role does not allow.
pub(crate) struct Denied {
    /// As in "does not allow AWS CodeBuild to …".
    pub what: String,
    pub error: ApiError,
}

impl Denied {
    pub fn to(what: &str) -> impl Fn(ApiError) -> Denied {
        move |error| Denied { what: what.to_owned(), error }
    }
}

/// Where a build's log goes.
#[async_trait]
pub(crate) trait LogSink: Send + Sync {
    fn now(&self) -> Timestamp;

    /// Stores a batch. A failure below 500 is final. After any other it is sent again under its own number,
    /// and stored once; each next batch has a higher number, beginning with 1.
    async fn write(&self, number: u64, events: Vec<InputLogEvent>) -> Result<(), ApiError>;
}

/// One build, held under the lease of its job.
#[async_trait]
pub(crate) trait Assignment: Send + Sync {
    /// One step, committed while the lease is held.
    async fn step(&self, step: Step) -> Result<BuildDoc, Stopped>;

    /// Returns when the build is no longer this attempt's: it was stopped, the lease is lost, or this
    /// process ends.
    async fn over(&self);

    /// Assumes the service role and opens the log.
    async fn open(&self, doc: &BuildDoc) -> Result<Opened, Denied>;

    /// Fills the folder of one of the build's sources; the commit, where there is one. `scratch` is for
    /// files that are gone afterwards.
    async fn fetch(
        &self,
        source: (usize, &SourcePlan),
        scratch: &Path,
    ) -> Result<Option<String>, SourceError>;

    /// The object that the project names as its buildspec.
    async fn buildspec_object(&self, doc: &BuildDoc) -> Result<Vec<u8>, BuildspecFailure>;

    /// Hands over what is staged in `folder`. From here on it is stored whatever becomes of this attempt.
    async fn deliver(&self, manifest: &Manifest, folder: &Path, log: &Log) -> Result<(), Stopped>;
}
