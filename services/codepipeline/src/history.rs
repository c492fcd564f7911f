//! Forgets executions that ended long ago. AWS keeps a pipeline's history for twelve months:
//! <https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ListPipelineExecutions.html>; it counts
//! from the start, this from the end.
//!
//! An execution goes with its action executions, their jobs, and every index entry, in one transaction; one
//! with very many actions loses them in several, and goes with the last. What a board names stays: the
//! latest execution of each stage, what a rollback goes back to, the latest run of each action. A version of
//! the pipeline goes when it was replaced that long ago and no execution that stays is of it or an older one.
//!
//! **State.** [`Place`], in a [`Rounds`] job. **Crash.** See there. An ended execution that is retried
//! meanwhile has another version, so that the piece that would remove it is decided again.

use crate::Pipelines;
use crate::state::{Board, Execution, Progress};
use crate::store::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use towpath_api::Timestamp;
use towpath_durable::{Piece, Retry, Rounds, Shutdown};
use towpath_store::{Document, Order, Store, StoreError, Txn, Versioned, key};

pub const QUEUE: &str = "codepipeline/history";
const EVERY_MS: i64 = 6 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// Index entries that one piece looks at.
const BATCH: usize = 100;
/// Documents after which a piece is large enough.
const ENOUGH: usize = 500;
/// Pipelines with nothing to forget that one piece passes.
const PASSED: usize = 50;

/// Where a round is.
#[derive(Debug, Serialize, Deserialize)]
enum Place {
    Executions {
        /// Key of the last pipeline that is done.
        done: Option<String>,
        /// Key of the last execution that was looked at and stays, in the next pipeline.
        after: Option<String>,
    },
    /// Tokens of executions that are gone: nothing leads from an execution to them. Every round looks, for an
    /// earlier one may have been interrupted between the two.
    Tokens { after: Option<String> },
    /// Earlier jobs of actions that are gone.
    Jobs { after: Option<String> },
}

impl Default for Place {
    fn default() -> Place {
        Place::Executions { done: None, after: None }
    }
}

/// `keep_days` 0: nothing is forgotten.
pub async fn run(service: Arc<Pipelines>, keep_days: u32, shutdown: Shutdown) {
    if keep_days == 0 {
        return;
    }
    let store = service.flow.store.clone();
    let work = store.clone();
    let piece = move |place: Place| {
        let store = work.clone();
        async move {
            let before = store.now().plus_millis(-i64::from(keep_days) * DAY_MS);
            match place {
                Place::Executions { done, after } => executions(&store, before, done, after).await,
                Place::Tokens { after } => tokens(&store, after).await,
                Place::Jobs { after } => jobs(&store, after).await,
            }
        }
    };
    Rounds::new(store, QUEUE, EVERY_MS).run(piece, shutdown).await;
}

async fn executions(
    store: &Store,
    before: Timestamp,
    mut done: Option<String>,
    mut after: Option<String>,
) -> Result<Piece<Place>, Retry> {
    let mut bite = Bite::default();
    for _ in 0..PASSED {
        let page = store.list::<PipelineDoc>("", done.as_deref(), 1, Order::Ascending).await?;
        let Some(pipeline) = page.items.into_iter().next() else {
            return Ok((bite.txn, Some(Place::Tokens { after: None })));
        };
        match of_pipeline(store, &pipeline, before, after.take(), &mut bite).await? {
            Left::Nothing if versions(store, &pipeline, before, &mut bite).await? => {
                done = Some(pipeline.key());
            }
            Left::Nothing => {}
            Left::After(kept) => after = kept,
        }
        if after.is_some() || bite.documents > 0 {
            break;
        }
    }
    Ok((bite.txn, Some(Place::Executions { done, after })))
}

/// One transaction in the making.
#[derive(Default)]
struct Bite {
    txn: Txn,
    documents: usize,
}

impl Bite {
    fn take<D: Document>(&mut self, doc: &Versioned<D>) {
        self.txn.delete(doc);
        self.documents += 1;
    }

    async fn take_key<D: Document>(&mut self, store: &Store, key: &str) -> Result<(), StoreError> {
        if let Some(doc) = store.get::<D>(key).await? {
            self.take(&doc);
        }
        Ok(())
    }
}

/// What a pipeline still has to be looked at.
enum Left {
    Nothing,
    /// What comes after this key.
    After(Option<String>),
}

async fn of_pipeline(
    store: &Store,
    pipeline: &PipelineDoc,
    before: Timestamp,
    mut after: Option<String>,
    bite: &mut Bite,
) -> Result<Left, StoreError> {
    let Some(board) = store.get::<BoardDoc>(&pipeline.id.key()).await? else { return Ok(Left::Nothing) };
    let needed = needed(&board.board);
    let prefix = key(&[&pipeline.generation, ""]);
    let page = store.list::<ExecutionIndex>(&prefix, after.as_deref(), BATCH, Order::Ascending).await?;
    let mut old = false;
    for index in &page.items {
        let found =
            store.get::<ExecutionDoc>(&ExecutionDoc::key_of(&index.generation, &index.execution)).await?;
        let Some(doc) = found else {
            bite.take(index);
            continue;
        };
        if doc.execution.started >= before {
            after = Some(index.key());
            continue;
        }
        old = true;
        if needed.contains(index.execution.as_str()) || !ended_before(&doc.execution, before) {
            after = Some(index.key());
        } else if actions(store, &doc, bite).await? {
            remove(store, index, &doc, bite).await?;
        } else {
            return Ok(Left::After(after));
        }
        if bite.documents >= ENOUGH {
            return Ok(Left::After(after));
        }
    }
    // Later ones started later, but a clock may have been wrong for a while: a page without an old one is
    // the present. What is removed needs no place to go on from: it is gone then.
    Ok(if page.next.is_some() && old { Left::After(after) } else { Left::Nothing })
}

/// Takes versions that were replaced long ago; says whether those are all. Executions are of the version that
/// was the pipeline's when they started, so none that is left is of one before the oldest one's.
async fn versions(
    store: &Store,
    pipeline: &PipelineDoc,
    before: Timestamp,
    bite: &mut Bite,
) -> Result<bool, StoreError> {
    if pipeline.version <= 1 {
        return Ok(true);
    }
    // The oldest that stays is known when the old ones are gone.
    if bite.documents > 0 {
        return Ok(false);
    }
    let prefix = key(&[&pipeline.generation, ""]);
    let oldest = store.list::<ExecutionIndex>(&prefix, None, 1, Order::Ascending).await?;
    let mut needed_from = pipeline.version;
    if let Some(index) = oldest.items.first() {
        let key = ExecutionDoc::key_of(&index.generation, &index.execution);
        // It went meanwhile; the next round sees another.
        let Some(doc) = store.get::<ExecutionDoc>(&key).await? else { return Ok(true) };
        needed_from = needed_from.min(doc.execution.version);
    }
    let page = store.list::<VersionDoc>(&prefix, None, BATCH, Order::Ascending).await?;
    let pairs = page.items.iter().zip(page.items.iter().skip(1));
    let gone: Vec<_> = pairs
        .filter(|(version, next)| version.version < needed_from && next.updated < before)
        .map(|(version, _)| version)
        .collect();
    gone.iter().for_each(|version| bite.take(version));
    Ok(gone.is_empty() || page.next.is_none())
}

fn ended_before(execution: &Execution, before: Timestamp) -> bool {
    matches!(execution.progress, Progress::Ended { at, .. } if at < before)
}

/// Executions that the pipeline's state shows or goes back to.
fn needed(board: &Board) -> BTreeSet<&str> {
    let mut needed: BTreeSet<&str> = board.active.iter().map(String::as_str).collect();
    for slot in board.slots.values() {
        let named = slot.occupant.iter().chain(&slot.inbound).chain(&slot.latest).chain(&slot.last_succeeded);
        needed.extend(named.map(String::as_str));
        needed.extend(slot.actions.values().map(|run| run.execution.as_str()));
    }
    needed
}

/// Takes an execution's actions; says whether those are all.
async fn actions(store: &Store, doc: &ExecutionDoc, bite: &mut Bite) -> Result<bool, StoreError> {
    let (generation, id) = (&doc.generation, &doc.execution.id);
    let prefix = key(&[generation, id, ""]);
    let page = store.list::<ActionIndex>(&prefix, None, BATCH, Order::Ascending).await?;
    for index in &page.items {
        let all = ActionIndex { of: "all".into(), ..index.doc.clone() };
        bite.take_key::<ActionIndex>(store, &all.key()).await?;
        bite.take(index);
        let Some(action) = store.get::<ActionDoc>(&ActionDoc::key_of(generation, &index.action_id)).await?
        else {
            continue;
        };
        match &action.external {
            External::Started { id, .. } => {
                for kind in ["build", "deployment"] {
                    bite.take_key::<Awaited>(store, &Awaited::key_of(kind, id)).await?;
                }
            }
            External::Job { job, .. } => bite.take_key::<JobDoc>(store, job).await?,
            External::None | External::Asking | External::Approval { .. } => {}
        }
        bite.take(&action);
    }
    Ok(page.next.is_none())
}

async fn remove(
    store: &Store,
    index: &Versioned<ExecutionIndex>,
    doc: &Versioned<ExecutionDoc>,
    bite: &mut Bite,
) -> Result<(), StoreError> {
    let execution = &doc.execution;
    for stage in execution.stages.keys() {
        let succeeded = SucceededIndex {
            generation: doc.generation.clone(),
            version: execution.version,
            stage: stage.clone(),
            sequence: execution.sequence,
            execution: execution.id.clone(),
        };
        bite.take_key::<SucceededIndex>(store, &succeeded.key()).await?;
    }
    bite.take(index);
    bite.take(doc);
    Ok(())
}

async fn tokens(store: &Store, after: Option<String>) -> Result<Piece<Place>, Retry> {
    let mut txn = Txn::new();
    let page = store.list::<StartToken>("", after.as_deref(), BATCH, Order::Ascending).await?;
    for token in &page.items {
        let execution = ExecutionDoc::key_of(&token.generation, &token.execution);
        if store.get::<ExecutionDoc>(&execution).await?.is_none() {
            txn.delete(token);
        }
    }
    let next = page.next.map(|after| Place::Tokens { after: Some(after) });
    Ok((txn, Some(next.unwrap_or(Place::Jobs { after: None }))))
}

async fn jobs(store: &Store, after: Option<String>) -> Result<Piece<Place>, Retry> {
    let mut txn = Txn::new();
    let page = store.list::<JobDoc>("", after.as_deref(), BATCH, Order::Ascending).await?;
    for job in &page.items {
        if store.get::<ActionDoc>(&job.action_key).await?.is_none() {
            txn.delete(job);
        }
    }
    Ok((txn, page.next.map(|after| Place::Jobs { after: Some(after) })))
}
