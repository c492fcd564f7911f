//! Carrying out action executions: one durable job for each. [`drive`] reads what the action's document
//! says, does the next thing, and either ends the action, or waits: an event wakes it, a timer is its
//! net and its deadline.
//!
//! State: [`ActionDoc`]. Invariants: what an action was given (resolved configuration, inputs) is fixed
//! before anything is asked for; that something is about to be asked for is on the disk before it is
//! asked for. Crash: the job runs again and goes on from the document.

mod approval;
pub mod build;
mod context;
mod custom;
mod deploy;
mod s3;
pub mod scratch;
mod source;

pub use context::{Ctx, Failure, PRINCIPAL};
pub use custom::offer;

use crate::Pipelines;
use crate::error::Fault;
use crate::flow::Step;
use crate::retrying;
use crate::state::{ActionStatus, Event, Outcome, Products};
use crate::store::*;
use crate::structure::Provider;
use crate::variables;
use std::sync::Arc;
use towpath_api::Timestamp;
use towpath_durable::{Held, Retry};
use towpath_store::{Document, Job, Lease, Txn, Versioned};

/// What became of an action when it was looked at.
pub enum Next {
    /// Look again then, or when woken.
    Wait(Timestamp),
    Done(Box<Ending>),
}

/// How an action ends, with what is shown of it.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    pub result: Option<Products>,
    /// `Some` exactly where it failed.
    pub error: Option<ActionError>,
    pub summary: Option<String>,
    pub updated_by: Option<String>,
    pub external_id: Option<String>,
    pub log_stream_arn: Option<String>,
}

impl Ending {
    pub fn succeeded(products: Products, summary: Option<String>) -> Ending {
        Ending { result: Some(products), summary, ..Ending::default() }
    }

    pub fn done(self) -> Next {
        Next::Done(Box::new(self))
    }

    pub fn failed(code: &str, message: impl Into<String>) -> Ending {
        let message = clip(message.into());
        Ending { error: Some(ActionError { code: code.into(), message }), ..Ending::default() }
    }
}

/// The model allows 2048 characters for a summary.
pub fn clip(text: String) -> String {
    if text.chars().count() <= 2048 { text } else { text.chars().take(2047).chain(['…']).collect() }
}

/// Where an output goes: a key of its own for every action execution, so that no run ever writes over
/// another's. AWS's form: the pipeline's and the artifact's names, shortened, and an id.
pub fn output_key(pipeline: &str, artifact: &str, action_id: &str) -> String {
    let short = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    format!("{}/{}/{}", short(pipeline, 20), short(artifact, 10), action_id.replace('-', ""))
}

/// The job of one action execution.
pub async fn drive(service: Arc<Pipelines>, held: Held) -> Result<Txn, Retry> {
    let Some(doc) = service.flow.store.get::<ActionDoc>(&held.key).await? else { return Ok(Txn::new()) };
    let pipeline = match service.flow.pipeline(&doc.pipeline).await {
        Ok(pipeline) if pipeline.generation == doc.generation => Some(pipeline.into_doc()),
        Ok(_) | Err(Fault::NoPipeline { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match (pipeline, doc.status) {
        (_, ActionStatus::Succeeded | ActionStatus::Failed) => Ok(Txn::new()),
        (_, ActionStatus::Abandoned) | (None, ActionStatus::InProgress) => {
            service.abandon(&doc).await;
            Ok(Txn::new())
        }
        (Some(pipeline), ActionStatus::InProgress) => service.advance(&pipeline, doc, &held).await,
    }
}

impl Pipelines {
    async fn advance(
        &self,
        pipeline: &PipelineDoc,
        doc: Versioned<ActionDoc>,
        held: &Held,
    ) -> Result<Txn, Retry> {
        let deadline = doc.deadline;
        let key = doc.key();
        if self.flow.store.now() >= deadline {
            self.abandon(&doc).await;
            let minutes = deadline.since_millis(doc.started) / 60_000;
            let ending =
                Ending::failed("ActionTimedOut", format!("The action timed out after {minutes} minutes."));
            self.finish(pipeline, &doc.id, ending, Some(held.lease())).await?;
            return Ok(Txn::new());
        }
        let next = match self.prepare(doc).await {
            Ok(mut ctx) => ctx.perform().await,
            Err(failure) => Err(failure),
        };
        match next {
            Ok(Next::Wait(until)) => {
                let mut txn = Txn::new();
                txn.enqueue(Job::new(ACTIONS, key, until.min(deadline)));
                Ok(txn)
            }
            Ok(Next::Done(ending)) => self.settle(pipeline, &key, *ending, held).await,
            Err(Failure::Action(error)) => {
                let ending = Ending { error: Some(error), ..Ending::default() };
                self.settle(pipeline, &key, ending, held).await
            }
            Err(Failure::Later(error)) => Err(Retry::new(error)),
        }
    }

    async fn settle(
        &self,
        pipeline: &PipelineDoc,
        key: &str,
        ending: Ending,
        held: &Held,
    ) -> Result<Txn, Retry> {
        if let Some(doc) = self.flow.store.get::<ActionDoc>(key).await? {
            self.finish(pipeline, &doc.id, ending, Some(held.lease())).await?;
        }
        Ok(Txn::new())
    }

    /// Ends an action execution; nothing where it has ended already.
    pub async fn finish(
        &self,
        pipeline: &PipelineDoc,
        action_id: &str,
        ending: Ending,
        lease: Option<&Lease>,
    ) -> Result<(), Fault> {
        retrying!(self.try_finish(pipeline, action_id, &ending, lease, Txn::new()).await)
    }

    /// One attempt of [`Pipelines::finish`], committed with `also`.
    pub async fn try_finish(
        &self,
        pipeline: &PipelineDoc,
        action_id: &str,
        ending: &Ending,
        lease: Option<&Lease>,
        also: Txn,
    ) -> Result<(), Fault> {
        let key = ActionDoc::key_of(&pipeline.generation, action_id);
        let Some(old) = self.flow.store.get::<ActionDoc>(&key).await? else { return Ok(()) };
        if old.status != ActionStatus::InProgress {
            return Ok(());
        }
        let mut doc = old.doc.clone();
        doc.error = ending.error.clone();
        doc.summary = ending.summary.clone().map(clip).or(doc.summary);
        doc.updated_by = ending.updated_by.clone().or(doc.updated_by);
        doc.log_stream_arn = ending.log_stream_arn.clone().or(doc.log_stream_arn);
        if let Some(products) = &ending.result {
            doc.products = products.clone();
            doc.percent = Some(100);
        }
        if let (External::Job { external_id, .. }, Some(id)) = (&mut doc.external, &ending.external_id) {
            *external_id = Some(id.clone());
        }
        let kept = self.flow.execution(pipeline, &doc.execution).await?.execution.outputs;
        let total = kept.values().chain([&doc.products.variables]).map(variables::size).sum::<usize>();
        if total > variables::MAX_EXECUTION_OUTPUT_BYTES && doc.error.is_none() {
            let limit = variables::MAX_EXECUTION_OUTPUT_BYTES;
            let message = format!(
                "The output variables of the execution take {total} bytes; at most {limit} are allowed."
            );
            doc.error = Some(ActionError { code: "OutputVariablesSizeExceeded".into(), message });
            doc.products = Products::default();
        }
        let outcome = match &ending.result {
            Some(products) if doc.error.is_none() => Outcome::Succeeded(Box::new(products.clone())),
            _ => Outcome::Failed,
        };
        let (execution, stage) = (doc.execution.clone(), doc.stage.clone());
        let mut step = Step::new(Event::ActionEnded {
            execution: execution.clone(),
            stage,
            action_id: action_id.to_owned(),
            outcome,
        })
        .touching(&execution);
        step.lease = lease;
        step.also = also;
        if let External::Started { id, .. } = &old.external {
            for kind in ["build", "deployment"] {
                let awaited = self.flow.store.get::<Awaited>(&Awaited::key_of(kind, id)).await?;
                if let Some(awaited) = awaited {
                    step.also.delete(&awaited);
                }
            }
        }
        step.finished = Some((old, doc));
        self.flow.attempt(pipeline, step).await.map(drop)
    }

    /// Tells what runs outside to stop. Best effort: an action that is abandoned may go on outside, as
    /// AWS's documentation warns.
    async fn abandon(&self, doc: &Versioned<ActionDoc>) {
        if let Err(failure) = self.try_abandon(doc).await {
            let (pipeline, action) = (&doc.pipeline.name, &doc.action);
            tracing::warn!(pipeline, action, %failure, "an abandoned action may go on outside");
        }
    }

    async fn try_abandon(&self, doc: &Versioned<ActionDoc>) -> Result<(), Failure> {
        let structure = self.flow.structure(&doc.generation, doc.version).await?;
        let declared = structure.stage(&doc.stage).and_then(|stage| stage.action(&doc.action));
        match (declared.map(|declared| declared.provider), &doc.external) {
            (
                Some(Provider::CodeBuild | Provider::CodeDeploy),
                External::Started { .. } | External::Asking,
            ) => {
                let mut ctx = self.context(doc.clone(), structure.clone()).await?;
                ctx.stop().await
            }
            (Some(Provider::Custom), External::Job { job, .. }) => {
                self.withdraw(job, JobState::TimedOut).await
            }
            _ => Ok(()),
        }
    }
}
