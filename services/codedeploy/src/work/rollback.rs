//! Rollback: a new deployment of the last good revision.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/deployments-rollback-and-redeploy.html>
//!
//! Hosts that still have that revision are left alone; they count as healthy. A rollback is never rolled
//! back, and where no host was touched there is nothing to do.

use crate::state::deployment::{Outcome, Phase, Progress};
use crate::state::fleet::Fleet;
use crate::store::{Creator, Deployment, Group, RolledBack, new_deployment_id};
use towpath_api::Timestamp;
use towpath_api_codedeploy::AutoRollbackConfiguration;

/// Whether `event` (`DEPLOYMENT_FAILURE`, `DEPLOYMENT_STOP_ON_REQUEST`) rolls back.
pub fn is_configured(config: Option<&AutoRollbackConfiguration>, event: &str) -> bool {
    config.is_some_and(|config| {
        config.enabled == Some(true) && config.events.iter().flatten().any(|found| found == event)
    })
}

pub enum Decision {
    /// Not asked for, or nothing to undo.
    None,
    /// Asked for, and there is nothing to go back to.
    Impossible(RolledBack),
    Deploy(Box<Deployment>, RolledBack),
}

pub fn decide(ended: &Deployment, group: &Group, outcome: &Outcome, now: Timestamp) -> Decision {
    let wanted = match outcome {
        Outcome::Succeeded => false,
        Outcome::Failed(_) => is_configured(ended.auto_rollback.as_ref(), "DEPLOYMENT_FAILURE"),
        Outcome::Stopped { roll_back } => *roll_back,
    };
    if !wanted || ended.taken == 0 || ended.creator != Creator::User {
        return Decision::None;
    }
    let Some(revision) = group.target_pinned.clone().or_else(|| group.target_revision.clone()) else {
        return Decision::Impossible(RolledBack {
            deployment_id: None,
            message: "There is no earlier successful deployment in the deployment group to roll back to."
                .into(),
        });
    };
    let rollback = Deployment {
        id: new_deployment_id(),
        previous_revision: Some(ended.revision.clone()),
        revision,
        pinned: None,
        description: Some(format!("Rollback of {}", ended.id)),
        creator: Creator::Rollback { of: ended.id.clone() },
        created_at: now,
        update_outdated_instances_only: false,
        rolled_back_by: None,
        progress: Progress { phase: Phase::Created, fleet: Fleet::default() },
        taken: 0,
        ..ended.clone()
    };
    let message = format!("Deployment {} is rolled back by deployment {}.", ended.id, rollback.id);
    let link = RolledBack { deployment_id: Some(rollback.id.clone()), message };
    Decision::Deploy(Box::new(rollback), link)
}
