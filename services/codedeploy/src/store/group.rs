//! Applications, deployment groups, deployment configurations and revisions.

use crate::state::fleet::MinimumHealthy;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use towpath_api::{Timestamp, id};
use towpath_api_codedeploy::{AutoRollbackConfiguration, RevisionLocation, TagFilter};
use towpath_store::{Document, key};

pub type Tags = BTreeMap<String, String>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Application {
    pub name: String,
    pub id: String,
    pub created_at: Timestamp,
    pub tags: Tags,
}

impl Document for Application {
    const KIND: &'static str = "codedeploy/application";

    fn key(&self) -> String {
        key(&[&self.name])
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub application_id: String,
    pub id: String,
    pub name: String,
    pub created_at: Timestamp,
    pub service_role_arn: String,
    pub config_name: String,
    pub selection: Selection,
    pub auto_rollback: Option<AutoRollbackConfiguration>,
    pub outdated_instances_strategy: String,
    pub tags: Tags,
    /// What the group is meant to run: the revision of the last successful deployment, as it was given.
    pub target_revision: Option<RevisionLocation>,
    /// The same with the version and the ETag that were deployed: what a rollback goes back to.
    pub target_pinned: Option<RevisionLocation>,
    pub last_successful: Option<LastDeployment>,
    pub last_attempted: Option<LastDeployment>,
    /// At most one deployment runs in a group.
    pub active_deployment: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastDeployment {
    pub id: String,
    pub status: String,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// Which on-premises instances belong to a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Selection {
    #[default]
    None,
    /// Any of the filters.
    Filters(Vec<TagFilter>),
    /// In every list, any of the filters.
    Sets(Vec<Vec<TagFilter>>),
}

impl Selection {
    pub fn matches(&self, tags: &Tags) -> bool {
        match self {
            Selection::None => false,
            Selection::Filters(filters) => matches_any(filters, tags),
            Selection::Sets(sets) => {
                !sets.is_empty() && sets.iter().all(|filters| matches_any(filters, tags))
            }
        }
    }
}

pub fn matches_any(filters: &[TagFilter], tags: &Tags) -> bool {
    filters.iter().any(|filter| matches(filter, tags))
}

/// Without a type a filter compares what it has.
fn matches(filter: &TagFilter, tags: &Tags) -> bool {
    let value_of = |key: &Option<String>| key.as_ref().and_then(|key| tags.get(key));
    let (by_key, by_value) = match filter.type_.as_deref() {
        Some("KEY_ONLY") => (true, false),
        Some("VALUE_ONLY") => (false, true),
        Some(_) => (true, true),
        None => (filter.key.is_some(), filter.value.is_some()),
    };
    let wanted = filter.value.as_deref().unwrap_or_default();
    match (by_key, by_value) {
        (true, true) => value_of(&filter.key).is_some_and(|value| value == wanted),
        (true, false) => value_of(&filter.key).is_some(),
        (false, true) => tags.values().any(|value| value == wanted),
        (false, false) => false,
    }
}

impl Document for Group {
    const KIND: &'static str = "codedeploy/group";

    fn key(&self) -> String {
        key(&[&self.application_id, &self.id])
    }
}

/// Finds a group by its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupName {
    pub application_id: String,
    pub name: String,
    pub group_id: String,
}

impl Document for GroupName {
    const KIND: &'static str = "codedeploy/group-name";

    fn key(&self) -> String {
        key(&[&self.application_id, &self.name])
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    pub name: String,
    pub id: String,
    pub created_at: Timestamp,
    pub minimum_healthy: MinimumHealthy,
}

impl Document for Config {
    const KIND: &'static str = "codedeploy/config";

    fn key(&self) -> String {
        key(&[&self.name])
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Revision {
    pub application_id: String,
    pub location: RevisionLocation,
    pub description: Option<String>,
    pub registered_at: Timestamp,
    pub first_used_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
}

/// A location as one line: what makes two revisions the same.
pub fn revision_identity(location: &RevisionLocation) -> String {
    let s3 = location.s3_location.clone().unwrap_or_default();
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let etag = part(&s3.e_tag).replace('"', "");
    key(&[&part(&s3.bucket), &part(&s3.key), &part(&s3.bundle_type), &part(&s3.version), &etag])
}

impl Revision {
    pub fn key_of(application_id: &str, location: &RevisionLocation) -> String {
        key(&[application_id, &revision_identity(location)])
    }
}

impl Document for Revision {
    const KIND: &'static str = "codedeploy/revision";

    fn key(&self) -> String {
        Revision::key_of(&self.application_id, &self.location)
    }
}

/// `d-` and nine capital letters or digits, as AWS's deployment ids.
pub fn new_deployment_id() -> String {
    format!("d-{}", id::random_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 9))
}
