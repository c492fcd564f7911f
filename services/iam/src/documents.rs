//! What is stored. Names are keys in lower case, because IAM's names are unique without case; everything
//! refers to a user, group or role by its unique id, so that a rename touches one document and a name that
//! is given again inherits nothing.

use crate::vault::PasswordHash;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use towpath_api::Timestamp;
use towpath_store::{Document, key};

/// `user`, `group` or `role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityKind {
    User,
    Group,
    Role,
}

impl EntityKind {
    pub fn as_str(self) -> &'static str {
        match self {
            EntityKind::User => "user",
            EntityKind::Group => "group",
            EntityKind::Role => "role",
        }
    }
}

/// Policies of a user, group or role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// ARNs of attached managed policies.
    pub attached: BTreeSet<String>,
    /// Inline policies by name.
    pub inline: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserDoc {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created_at: Timestamp,
    pub boundary: Option<String>,
    pub tags: Vec<Tag>,
    pub held: Held,
    /// Ids of groups.
    pub groups: BTreeSet<String>,
    pub access_keys: BTreeSet<String>,
    /// Keys of the user's [`CredentialDoc`]s.
    pub credentials: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupDoc {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created_at: Timestamp,
    pub held: Held,
    /// Ids of users.
    pub members: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleDoc {
    pub name: String,
    pub path: String,
    pub id: String,
    pub created_at: Timestamp,
    pub description: Option<String>,
    pub max_session_seconds: i64,
    pub trust: String,
    /// The unique ids of the users and roles that the trust policy named when it was written: whoever
    /// takes a deleted one's name is not trusted.
    pub trusted_ids: BTreeMap<String, String>,
    pub boundary: Option<String>,
    pub tags: Vec<Tag>,
    pub held: Held,
}

/// From a unique id to the entity's current name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IdDoc {
    pub id: String,
    pub kind: EntityKind,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Active,
    Inactive,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "Active",
            Status::Inactive => "Inactive",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessKeyDoc {
    pub id: String,
    pub user_id: String,
    pub sealed_secret: String,
    pub status: Status,
    pub created_at: Timestamp,
}

/// A service-specific credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CredentialDoc {
    pub id: String,
    pub service: String,
    pub service_user_name: String,
    pub user_id: String,
    pub password: PasswordHash,
    pub status: Status,
    pub created_at: Timestamp,
}

/// A customer-managed policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManagedDoc {
    pub arn: String,
    pub name: String,
    pub path: String,
    pub id: String,
    pub description: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub default_version: u32,
    pub next_version: u32,
    pub versions: BTreeMap<u32, PolicyVersion>,
    pub tags: Vec<Tag>,
    /// How many users, groups and roles it is attached to.
    pub attachments: u32,
    /// How many users and roles it bounds.
    pub boundaries: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyVersion {
    pub document: String,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Usage {
    Permissions,
    Boundary,
}

impl Usage {
    pub fn as_str(self) -> &'static str {
        match self {
            Usage::Permissions => "permissions",
            Usage::Boundary => "boundary",
        }
    }
}

/// That a managed policy is used by an entity: the other direction of [`Held::attached`] and `boundary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttachmentDoc {
    pub policy_arn: String,
    pub usage: Usage,
    pub kind: EntityKind,
    pub entity_id: String,
}

/// When an access key or role was last used; written once a minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastUseDoc {
    pub id: String,
    pub at: Timestamp,
    pub service: String,
    pub region: String,
}

/// What users, groups and roles have in common.
pub trait Entity: Document + Clone {
    const ENTITY: EntityKind;
    fn name(&self) -> &str;
    fn path(&self) -> &str;
    fn id(&self) -> &str;
    fn held(&self) -> &Held;
    fn held_mut(&mut self) -> &mut Held;
    fn tags(&self) -> &[Tag] {
        &[]
    }
    fn boundary(&self) -> Option<&str> {
        None
    }

    fn arn(&self, account: &str) -> String {
        entity_arn(account, Self::ENTITY, self.path(), self.name())
    }
}

/// An entity that has tags and a permissions boundary: a user or role.
pub trait Bounded: Entity {
    fn set_boundary(&mut self, arn: Option<String>);
    fn tags_mut(&mut self) -> &mut Vec<Tag>;
}

pub fn entity_arn(account: &str, kind: EntityKind, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:{}{path}{name}", kind.as_str())
}

macro_rules! entity {
    ($document:ident, $kind:literal, $entity:expr $(, $member:item)*) => {
        impl Document for $document {
            const KIND: &'static str = $kind;

            fn key(&self) -> String {
                self.name.to_lowercase()
            }
        }

        impl Entity for $document {
            const ENTITY: EntityKind = $entity;

            fn name(&self) -> &str {
                &self.name
            }

            fn path(&self) -> &str {
                &self.path
            }

            fn id(&self) -> &str {
                &self.id
            }

            fn held(&self) -> &Held {
                &self.held
            }

            fn held_mut(&mut self) -> &mut Held {
                &mut self.held
            }

            $($member)*
        }
    };
}

entity!(GroupDoc, "iam/group", EntityKind::Group);

macro_rules! bounded {
    ($document:ident, $kind:literal, $entity:expr) => {
        entity!(
            $document,
            $kind,
            $entity,
            fn tags(&self) -> &[Tag] {
                &self.tags
            },
            fn boundary(&self) -> Option<&str> {
                self.boundary.as_deref()
            }
        );

        impl Bounded for $document {
            fn set_boundary(&mut self, arn: Option<String>) {
                self.boundary = arn;
            }

            fn tags_mut(&mut self) -> &mut Vec<Tag> {
                &mut self.tags
            }
        }
    };
}

bounded!(UserDoc, "iam/user", EntityKind::User);
bounded!(RoleDoc, "iam/role", EntityKind::Role);

macro_rules! document {
    ($document:ident, $kind:literal, |$it:ident| $key:expr) => {
        impl Document for $document {
            const KIND: &'static str = $kind;

            fn key(&self) -> String {
                let $it = self;
                $key
            }
        }
    };
}

document!(IdDoc, "iam/id", |it| it.id.clone());
document!(AccessKeyDoc, "iam/access-key", |it| it.id.clone());
document!(CredentialDoc, "iam/service-credential", |it| credential_key(&it.service, &it.service_user_name));
document!(ManagedDoc, "iam/policy", |it| it.name.to_lowercase());
document!(AttachmentDoc, "iam/attachment", |it| {
    key(&[&it.policy_arn, it.usage.as_str(), it.kind.as_str(), &it.entity_id])
});
document!(LastUseDoc, "iam/last-use", |it| it.id.clone());

pub fn credential_key(service: &str, service_user_name: &str) -> String {
    key(&[service, service_user_name])
}
