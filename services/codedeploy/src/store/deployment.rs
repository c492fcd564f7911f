//! Deployments and their targets.

use crate::state::deployment::{Phase, Progress};
use crate::state::fleet::MinimumHealthy;
use crate::state::host::Host;
use serde::{Deserialize, Serialize};
use towpath_api::Timestamp;
use towpath_api_codedeploy::{AutoRollbackConfiguration, RevisionLocation, S3Location};
use towpath_store::{Document, key};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployment {
    pub id: String,
    pub account: String,
    pub region: String,
    pub application_id: String,
    pub application_name: String,
    pub group_id: String,
    pub group_name: String,
    pub service_role_arn: String,
    pub config_name: String,
    pub minimum_healthy: MinimumHealthy,
    pub revision: RevisionLocation,
    /// The revision with the version and the ETag that the object had when the deployment began: every host
    /// gets the same bytes or none. `None` until it was read, or where the service role may not read it.
    pub pinned: Option<RevisionLocation>,
    pub previous_revision: Option<RevisionLocation>,
    pub description: Option<String>,
    pub creator: Creator,
    pub created_at: Timestamp,
    pub ignore_application_stop_failures: bool,
    pub update_outdated_instances_only: bool,
    pub file_exists_behavior: String,
    pub auto_rollback: Option<AutoRollbackConfiguration>,
    pub rolled_back_by: Option<RolledBack>,
    pub progress: Progress,
    /// How many hosts of the [`Plan`] were taken.
    pub taken: usize,
}

/// Why the deployment exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Creator {
    User,
    Rollback { of: String },
}

/// What came of a deployment that was to be rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// `None` where there was nothing to go back to.
    pub deployment_id: Option<String>,
    pub message: String,
}

impl Deployment {
    /// The revision with everything that is known about it.
    pub fn exact_revision(&self) -> &RevisionLocation {
        self.pinned.as_ref().unwrap_or(&self.revision)
    }

    pub fn s3(&self) -> S3Location {
        self.exact_revision().s3_location.clone().unwrap_or_default()
    }

    /// A rollback, and an update of outdated instances, leave hosts alone that have the revision.
    pub fn leaves_current_hosts_alone(&self) -> bool {
        self.update_outdated_instances_only || matches!(self.creator, Creator::Rollback { .. })
    }

    pub fn takes_no_more(&self) -> bool {
        matches!(self.progress.phase, Phase::Stopping { .. } | Phase::Ended { .. })
    }

    pub fn group_arn(&self) -> String {
        self.arn(format!("deploymentgroup:{}/{}", self.application_name, self.group_name))
    }

    pub fn application_arn(&self) -> String {
        self.arn(format!("application:{}", self.application_name))
    }

    fn arn(&self, resource: String) -> String {
        towpath_api::Arn::new("codedeploy", &self.region, &self.account, resource).to_string()
    }

    /// `DeploymentExecutionId` of the host-agent protocol.
    pub fn execution_id(&self) -> String {
        format!("{}/{}/deployment/{}", self.account, self.region, self.id)
    }

    pub fn group_key(&self) -> String {
        key(&[&self.application_id, &self.group_id])
    }
}

impl Document for Deployment {
    const KIND: &'static str = "codedeploy/deployment";

    fn key(&self) -> String {
        key(&[&self.id])
    }
}

/// The hosts of a deployment in the order in which they are taken. Written once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub deployment_id: String,
    pub instances: Vec<String>,
}

impl Document for Plan {
    const KIND: &'static str = "codedeploy/plan";

    fn key(&self) -> String {
        key(&[&self.deployment_id])
    }
}

/// One host in one deployment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub deployment_id: String,
    pub instance: String,
    pub instance_arn: String,
    /// Who may report: the identity that the instance had when the deployment began.
    pub principal_arn: String,
    pub host: Host,
}

impl Target {
    pub fn key_of(deployment_id: &str, instance: &str) -> String {
        key(&[deployment_id, instance])
    }
}

impl Document for Target {
    const KIND: &'static str = "codedeploy/target";

    fn key(&self) -> String {
        Target::key_of(&self.deployment_id, &self.instance)
    }
}

/// Deployments newest first: all of them, and those of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeploymentEntry {
    /// A group's id, or `*` for the list of all.
    pub list: String,
    pub created_at: Timestamp,
    pub deployment_id: String,
}

impl DeploymentEntry {
    pub const ALL: &'static str = "*";

    pub fn both(deployment: &Deployment) -> [DeploymentEntry; 2] {
        [DeploymentEntry::ALL, &deployment.group_id].map(|list| DeploymentEntry {
            list: list.to_owned(),
            created_at: deployment.created_at,
            deployment_id: deployment.id.clone(),
        })
    }
}

impl Document for DeploymentEntry {
    const KIND: &'static str = "codedeploy/deployment-entry";

    fn key(&self) -> String {
        let newest_first = i64::MAX - self.created_at.as_millis();
        key(&[&self.list, &format!("{newest_first:019}"), &self.deployment_id])
    }
}

/// This server's key for signing deployment specifications, for AWS's own agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SigningKey {
    /// PKCS #8 in base64.
    pub pkcs8: String,
}

impl SigningKey {
    pub const NAME: &'static str = "deployment-specification";
}

impl Document for SigningKey {
    const KIND: &'static str = "codedeploy/signing-key";

    fn key(&self) -> String {
        key(&[SigningKey::NAME])
    }
}
