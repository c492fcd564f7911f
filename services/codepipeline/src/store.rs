//! The documents. A pipeline's history hangs on its `generation`, made when the pipeline was created: a
//! pipeline that is deleted and created again under its name does not see the old one's executions.
//!
//! Listings never scan: executions and action executions have small index documents whose keys sort by
//! time, and the trigger index is keyed by what the event names.

use crate::state::{ActionStatus, Artifact, Board, Execution, Products, SourcePin};
use crate::structure::CustomType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use towpath_api::Timestamp;
use towpath_api_codepipeline::{ActionTypeId, PipelineDeclaration};
use towpath_store::{Document, key};

/// Queue of [`ActionDoc`]s that are carried out, by their key.
pub const ACTIONS: &str = "codepipeline/actions";
/// Queue of starts that an event asked for, by event and pipeline.
pub const STARTS: &str = "codepipeline/starts";

/// Queue of generations of deleted pipelines.
pub const PURGES: &str = "codepipeline/purges";

/// Which pipeline: the first three parts of every key that belongs to one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineId {
    pub account: String,
    pub region: String,
    pub name: String,
}

impl PipelineId {
    pub fn key(&self) -> String {
        key(&[&self.account, &self.region, &self.name])
    }

    pub fn arn(&self) -> String {
        towpath_api::Arn::new("codepipeline", &self.region, &self.account, self.name.as_str()).to_string()
    }
}

/// A pipeline as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineDoc {
    pub id: PipelineId,
    pub generation: String,
    pub version: i64,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub declaration: PipelineDeclaration,
    pub tags: BTreeMap<String, String>,
}

impl Document for PipelineDoc {
    const KIND: &'static str = "codepipeline/pipeline";

    fn key(&self) -> String {
        self.id.key()
    }
}

/// What most questions ask of a [`PipelineDoc`]: the same document, read without most of its declaration, which
/// costs several times as much as all the rest. It is never written.
#[derive(Clone, Debug, Deserialize)]
pub struct PipelineHead {
    pub id: PipelineId,
    pub generation: String,
    pub version: i64,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub declaration: DeclarationHead,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeclarationHead {
    pub pipeline_type: Option<String>,
    pub execution_mode: Option<String>,
}

impl Serialize for PipelineHead {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a pipeline's head is only read"))
    }
}

impl Document for PipelineHead {
    const KIND: &'static str = PipelineDoc::KIND;

    fn key(&self) -> String {
        self.id.key()
    }
}

/// One version of a pipeline's declaration, with the custom action types that it was judged against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VersionDoc {
    pub generation: String,
    pub version: i64,
    pub updated: Timestamp,
    pub region: String,
    pub declaration: PipelineDeclaration,
    pub custom: Vec<CustomType>,
}

impl VersionDoc {
    pub fn key_of(generation: &str, version: i64) -> String {
        key(&[generation, &format!("{version:020}")])
    }
}

impl Document for VersionDoc {
    const KIND: &'static str = "codepipeline/version";

    fn key(&self) -> String {
        VersionDoc::key_of(&self.generation, self.version)
    }
}

/// The board: replaced by every transition of the pipeline, which puts them all in one order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BoardDoc {
    pub id: PipelineId,
    pub generation: String,
    pub board: Board,
}

impl Document for BoardDoc {
    const KIND: &'static str = "codepipeline/board";

    fn key(&self) -> String {
        self.id.key()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecutionDoc {
    pub generation: String,
    pub execution: Execution,
}

impl ExecutionDoc {
    pub fn key_of(generation: &str, id: &str) -> String {
        key(&[generation, id])
    }
}

impl Document for ExecutionDoc {
    const KIND: &'static str = "codepipeline/execution";

    fn key(&self) -> String {
        ExecutionDoc::key_of(&self.generation, &self.execution.id)
    }
}

/// A time as it sorts in a key.
pub fn time_key(at: Timestamp) -> String {
    format!("{:020}", at.as_millis())
}

/// A pipeline's executions by the order of their start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecutionIndex {
    pub generation: String,
    pub sequence: u64,
    pub execution: String,
}

impl Document for ExecutionIndex {
    const KIND: &'static str = "codepipeline/execution-order";

    fn key(&self) -> String {
        key(&[&self.generation, &format!("{:020}", self.sequence)])
    }
}

/// Executions that succeeded in a stage of one version of the structure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SucceededIndex {
    pub generation: String,
    pub version: i64,
    pub stage: String,
    pub sequence: u64,
    pub execution: String,
}

impl SucceededIndex {
    pub fn prefix(generation: &str, version: i64, stage: &str) -> String {
        key(&[generation, &format!("{version:020}"), stage, ""])
    }
}

impl Document for SucceededIndex {
    const KIND: &'static str = "codepipeline/succeeded-in-stage";

    fn key(&self) -> String {
        let prefix = SucceededIndex::prefix(&self.generation, self.version, &self.stage);
        format!("{prefix}{:020}", self.sequence)
    }
}

/// One run of one action.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActionDoc {
    pub id: String,
    pub pipeline: PipelineId,
    pub generation: String,
    pub version: i64,
    pub execution: String,
    pub stage: String,
    pub action: String,
    pub started: Timestamp,
    pub updated: Timestamp,
    pub deadline: Timestamp,
    pub status: ActionStatus,
    /// What it was given, fixed when it was first carried out.
    pub resolved: Option<BTreeMap<String, String>>,
    pub inputs: BTreeMap<String, Artifact>,
    pub external: External,
    pub summary: Option<String>,
    pub percent: Option<i64>,
    pub updated_by: Option<String>,
    pub error: Option<ActionError>,
    pub log_stream_arn: Option<String>,
    pub products: Products,
}

/// How far the work outside has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum External {
    #[default]
    None,
    /// It is about to be asked for: after a crash, look for it before asking again.
    Asking,
    Started {
        id: String,
        url: Option<String>,
    },
    /// A person decides, with this token.
    Approval {
        token: String,
    },
    /// Job workers do it; `job` is the latest of its jobs.
    Job {
        job: String,
        external_id: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionError {
    pub code: String,
    pub message: String,
}

impl ActionDoc {
    pub fn key_of(generation: &str, id: &str) -> String {
        key(&[generation, id])
    }
}

impl Document for ActionDoc {
    const KIND: &'static str = "codepipeline/action";

    fn key(&self) -> String {
        ActionDoc::key_of(&self.generation, &self.id)
    }
}

/// Action executions by time, once for the whole pipeline and once for their execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActionIndex {
    pub generation: String,
    /// `all`, or an execution's id.
    pub of: String,
    pub started: Timestamp,
    pub action_id: String,
}

impl Document for ActionIndex {
    const KIND: &'static str = "codepipeline/action-order";

    fn key(&self) -> String {
        key(&[&self.generation, &self.of, &time_key(self.started), &self.action_id])
    }
}

/// Which action waits for a build or a deployment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Awaited {
    /// `build` or `deployment`.
    pub kind: String,
    pub external_id: String,
    pub action_key: String,
}

impl Awaited {
    pub fn key_of(kind: &str, external_id: &str) -> String {
        key(&[kind, external_id])
    }
}

impl Document for Awaited {
    const KIND: &'static str = "codepipeline/awaited";

    fn key(&self) -> String {
        Awaited::key_of(&self.kind, &self.external_id)
    }
}

/// A start that was asked for and happened: the same token, or the same event, starts nothing again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartToken {
    pub generation: String,
    pub token: String,
    pub execution: String,
    /// What a client asked for with its token; nothing where an event started the execution.
    #[serde(default)]
    pub asked: Option<Asked>,
}

/// What must be the same where a client's token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub variables: BTreeMap<String, String>,
    pub pins: BTreeMap<String, SourcePin>,
}

impl StartToken {
    pub fn key_of(generation: &str, token: &str) -> String {
        key(&[generation, token])
    }
}

impl Document for StartToken {
    const KIND: &'static str = "codepipeline/start-token";

    fn key(&self) -> String {
        StartToken::key_of(&self.generation, &self.token)
    }
}

/// A pipeline that a change of `subject` may start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    pub pipeline: PipelineId,
    /// `codecommit` or `s3`.
    pub source: String,
    /// The repository's or the bucket's name.
    pub subject: String,
    /// Of a bucket, the keys of the objects that start the pipeline. None of a repository, and in what older
    /// programs wrote: there every change is looked at.
    #[serde(default)]
    pub objects: Option<Vec<String>>,
}

impl Watch {
    /// Whether a change of this object (nothing, of a repository) is anything to the pipeline.
    pub fn concerns(&self, object: Option<&str>) -> bool {
        match (&self.objects, object) {
            (Some(watched), Some(object)) => watched.iter().any(|key| key == object),
            _ => true,
        }
    }

    pub fn prefix(account: &str, region: &str, source: &str, subject: &str) -> String {
        key(&[account, region, source, subject, ""])
    }
}

impl Document for Watch {
    const KIND: &'static str = "codepipeline/watch";

    fn key(&self) -> String {
        let id = &self.pipeline;
        let prefix = Watch::prefix(&id.account, &id.region, &self.source, &self.subject);
        format!("{prefix}{}", id.name)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CustomTypeDoc {
    pub account: String,
    pub region: String,
    pub custom: CustomType,
    pub tags: BTreeMap<String, String>,
}

impl CustomTypeDoc {
    pub fn key_of(account: &str, region: &str, id: &ActionTypeId) -> String {
        let text = |member: &Option<String>| member.clone().unwrap_or_default();
        key(&[account, region, &text(&id.category), &text(&id.provider), &text(&id.version)])
    }
}

impl Document for CustomTypeDoc {
    const KIND: &'static str = "codepipeline/custom-type";

    fn key(&self) -> String {
        let id = self.custom.declared.id.clone().unwrap_or_default();
        CustomTypeDoc::key_of(&self.account, &self.region, &id)
    }
}

/// A job for a worker: one leg of a custom action.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobDoc {
    pub id: String,
    pub account: String,
    pub action_key: String,
    pub type_id: ActionTypeId,
    pub state: JobState,
    pub continuation: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Offered to workers; whoever acknowledges with the nonce has it.
    Offered {
        nonce: String,
    },
    InProgress,
    Succeeded,
    Failed,
    TimedOut,
}

impl Document for JobDoc {
    const KIND: &'static str = "codepipeline/job";

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// The jobs that workers of one action type may poll, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenJob {
    pub account: String,
    pub region: String,
    pub type_id: ActionTypeId,
    pub created: Timestamp,
    pub job: String,
    /// The value of the type's queryable property.
    pub query: Option<String>,
    /// Handed out until then; afterwards offered again.
    pub hidden_until: Timestamp,
}

impl OpenJob {
    pub fn prefix(account: &str, region: &str, id: &ActionTypeId) -> String {
        key(&[&CustomTypeDoc::key_of(account, region, id), ""])
    }
}

impl Document for OpenJob {
    const KIND: &'static str = "codepipeline/open-job";

    fn key(&self) -> String {
        let prefix = OpenJob::prefix(&self.account, &self.region, &self.type_id);
        format!("{prefix}{}{}", key(&[&time_key(self.created), ""]), self.job)
    }
}
