//! Forgets builds that ended long ago, and reports that were made long ago. AWS gives access to a build's
//! history for a year: <https://docs.aws.amazon.com/codebuild/latest/userguide/builds-working.html>.
//!
//! A build goes with its index entries and with the token that its pipeline started it with; a report with
//! its cases. The numbers that a project gave out stay, so that none is given twice. Logs and artifacts are
//! not this service's: their groups and buckets say how long they live.
//!
//! **State.** [`Place`], in a [`Rounds`] job. **Crash.** See there. A finished build never changes.

use crate::state::State;
use crate::store::{BuildByProject, BuildByTime, BuildDoc, CasesDoc, ReportDoc, TokenDoc};
use serde::{Deserialize, Serialize};
use towpath_api::Timestamp;
use towpath_durable::{Piece, Retry, Rounds, Shutdown};
use towpath_store::{Document, Order, Store, StoreError, Txn, key};

pub const QUEUE: &str = "codebuild/history";
const EVERY_MS: i64 = 6 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// Builds, or reports, that one piece looks at.
const BATCH: usize = 100;
/// Pages of cases after which a piece is large enough.
const CASES_ENOUGH: usize = 200;

/// Where a round is.
#[derive(Debug, Serialize, Deserialize)]
enum Place {
    Builds { after: Option<String> },
    Reports { after: Option<String> },
}

impl Default for Place {
    fn default() -> Place {
        Place::Builds { after: None }
    }
}

/// `keep_days` 0: nothing is forgotten.
pub async fn run(store: Store, keep_days: u32, shutdown: Shutdown) {
    if keep_days == 0 {
        return;
    }
    let work = store.clone();
    let piece = move |place: Place| {
        let store = work.clone();
        async move {
            let before = store.now().plus_millis(-i64::from(keep_days) * DAY_MS);
            match place {
                Place::Builds { after } => builds(&store, before, after).await,
                Place::Reports { after } => reports(&store, before, after).await,
            }
        }
    };
    Rounds::new(store, QUEUE, EVERY_MS).run(piece, shutdown).await;
}

async fn builds(store: &Store, before: Timestamp, after: Option<String>) -> Result<Piece<Place>, Retry> {
    let mut txn = Txn::new();
    let page = store.list::<BuildByTime>("", after.as_deref(), BATCH, Order::Ascending).await?;
    for index in &page.items {
        if index.started_at >= before {
            // Later ones started later, but there may be other regions: their keys come after all times.
            let after = Some(key(&[&index.account, &index.region, ":"]));
            return Ok((txn, Some(Place::Builds { after })));
        }
        let build_key = BuildDoc::key_of(&index.account, &index.region, &index.id);
        let Some(build) = store.get::<BuildDoc>(&build_key).await? else {
            txn.delete(index);
            continue;
        };
        if matches!(build.progress.state, State::Finished { at, .. } if at < before) {
            txn.delete(index);
            txn.delete(&build);
            also(store, &build, &mut txn).await?;
        }
    }
    let next = page.next.map(|after| Place::Builds { after: Some(after) });
    Ok((txn, Some(next.unwrap_or(Place::Reports { after: None }))))
}

async fn also(store: &Store, build: &BuildDoc, txn: &mut Txn) -> Result<(), StoreError> {
    if let Some(index) = store.get::<BuildByProject>(&build.by_project().key()).await? {
        txn.delete(&index);
    }
    // Other tokens have expired long ago.
    if let Some(pipeline) = &build.pipeline {
        let token_key = TokenDoc::key_of(&build.account, &build.region, "pipeline", &pipeline.client_token);
        let token = store.get::<TokenDoc>(&token_key).await?;
        if let Some(token) = token.filter(|token| token.build_id == build.id) {
            txn.delete(&token);
        }
    }
    Ok(())
}

async fn reports(store: &Store, before: Timestamp, after: Option<String>) -> Result<Piece<Place>, Retry> {
    let (mut txn, mut cases) = (Txn::new(), 0);
    let page = store.list::<ReportDoc>("", after.as_deref(), BATCH, Order::Ascending).await?;
    for report in &page.items {
        if report.created_at >= before {
            continue;
        }
        for number in 0..report.case_pages {
            if let Some(found) = store.get::<CasesDoc>(&CasesDoc::key_of(&report.key(), number)).await? {
                txn.delete(&found);
            }
        }
        txn.delete(report);
        cases += report.case_pages;
        if cases >= CASES_ENOUGH {
            return Ok((txn, Some(Place::Reports { after: Some(report.key()) })));
        }
    }
    Ok((txn, page.next.map(|after| Place::Reports { after: Some(after) })))
}
