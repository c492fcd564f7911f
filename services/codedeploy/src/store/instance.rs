//! On-premises instances, and what each of them has to do and has.

use super::Tags;
use serde::{Deserialize, Serialize};
use towpath_api::Timestamp;
use towpath_store::{Document, key};

/// The IAM identity that an instance's agent signs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Principal {
    User(String),
    Session(String),
}

impl Principal {
    pub fn arn(&self) -> &str {
        match self {
            Principal::User(arn) | Principal::Session(arn) => arn,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instance {
    pub name: String,
    pub arn: String,
    pub principal: Principal,
    pub registered_at: Timestamp,
    /// Deregistered instances are remembered, as AWS does for listing them.
    pub deregistered_at: Option<Timestamp>,
    pub tags: Tags,
}

impl Instance {
    pub fn is_registered(&self) -> bool {
        self.deregistered_at.is_none()
    }
}

impl Document for Instance {
    const KIND: &'static str = "codedeploy/instance";

    fn key(&self) -> String {
        key(&[&self.name])
    }
}

/// Finds a registered instance by its agent's identity. An identity serves one instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceIdentity {
    pub principal_arn: String,
    pub instance: String,
}

impl Document for InstanceIdentity {
    const KIND: &'static str = "codedeploy/instance-identity";

    fn key(&self) -> String {
        key(&[&self.principal_arn])
    }
}

/// The deployments that want a host now, the oldest first: one works on it at a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostQueue {
    pub instance: String,
    pub deployments: Vec<String>,
}

impl Document for HostQueue {
    const KIND: &'static str = "codedeploy/host-queue";

    fn key(&self) -> String {
        key(&[&self.instance])
    }
}

/// The revision that a group's deployments put on a host. Gone from the moment an agent begins to change
/// the host until a deployment to it succeeds: then nobody knows what is there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostRevision {
    pub group_id: String,
    pub instance: String,
    pub deployment_id: String,
    /// [`super::revision_identity`] of the pinned revision.
    pub revision: String,
}

impl HostRevision {
    pub fn key_of(group_id: &str, instance: &str) -> String {
        key(&[instance, group_id])
    }
}

impl Document for HostRevision {
    const KIND: &'static str = "codedeploy/host-revision";

    fn key(&self) -> String {
        HostRevision::key_of(&self.group_id, &self.instance)
    }
}
