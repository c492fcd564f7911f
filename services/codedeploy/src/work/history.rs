//! Forgets deployments that ended long ago. AWS's quotas name no time for them
//! (<https://docs.aws.amazon.com/codedeploy/latest/userguide/limits.html>); here they live as long as the
//! executions and builds that they belong to.
//!
//! A deployment goes with its plan, its targets and its list entries; one with very many targets loses them
//! in several pieces, and goes with the last. What its group names stays: the last deployment that was
//! tried, and the last that succeeded. What a rollback deploys is in the group itself.
//!
//! **State.** [`Place`], in a [`Rounds`] job. **Crash.** See there. An ended deployment does not begin again.

use crate::state::deployment::Phase;
use crate::store::{Deployment, DeploymentEntry, Group, Plan, Target};
use serde::{Deserialize, Serialize};
use towpath_api::Timestamp;
use towpath_durable::{Piece, Retry, Rounds, Shutdown};
use towpath_store::{Document, Order, Store, StoreError, Txn, key};

pub const QUEUE: &str = "codedeploy/history";
const EVERY_MS: i64 = 6 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// Deployments that one piece looks at.
const BATCH: usize = 50;
/// Targets that one piece removes.
const TARGETS: usize = 200;

/// The entry that was looked at last, and stays. The oldest comes first.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    after: Option<String>,
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
            deployments(&store, before, place.after).await
        }
    };
    Rounds::new(store, QUEUE, EVERY_MS).run(piece, shutdown).await;
}

async fn deployments(
    store: &Store,
    before: Timestamp,
    mut after: Option<String>,
) -> Result<Piece<Place>, Retry> {
    let (mut txn, mut room) = (Txn::new(), TARGETS);
    let all = key(&[DeploymentEntry::ALL, ""]);
    let page = store.list::<DeploymentEntry>(&all, after.as_deref(), BATCH, Order::Descending).await?;
    for entry in &page.items {
        if entry.created_at >= before {
            return Ok((txn, None));
        }
        let Some(deployment) = store.get::<Deployment>(&key(&[&entry.deployment_id])).await? else {
            txn.delete(entry);
            continue;
        };
        let ended = matches!(deployment.progress.phase, Phase::Ended { at, .. } if at < before);
        if !ended || is_needed(store, &deployment).await? {
            after = Some(entry.key());
            continue;
        }
        let targets = store.list::<Target>(&key(&[&deployment.id, ""]), None, room, Order::Ascending).await?;
        for target in &targets.items {
            txn.delete(target);
        }
        room -= targets.items.len();
        if targets.next.is_none() {
            if let Some(plan) = store.get::<Plan>(&key(&[&deployment.id])).await? {
                txn.delete(&plan);
            }
            for entry in DeploymentEntry::both(&deployment) {
                if let Some(entry) = store.get::<DeploymentEntry>(&entry.key()).await? {
                    txn.delete(&entry);
                }
            }
            txn.delete(&deployment);
        }
        if targets.next.is_some() || room == 0 {
            return Ok((txn, Some(Place { after })));
        }
    }
    Ok((txn, page.next.is_some().then_some(Place { after })))
}

async fn is_needed(store: &Store, deployment: &Deployment) -> Result<bool, StoreError> {
    let Some(group) = store.get::<Group>(&deployment.group_key()).await? else { return Ok(false) };
    let last = [&group.last_successful, &group.last_attempted];
    let mut named = last.into_iter().flatten().map(|last| &last.id).chain(&group.active_deployment);
    Ok(named.any(|id| *id == deployment.id))
}
