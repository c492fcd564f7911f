//! Condition keys of IAM's operations, and the one way in which handlers authorize.
//! Source: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html>.

use crate::documents::{Entity, Tag, entity_arn};
use crate::problem::Problem;
use crate::service::IdentityService;
use towpath_api::{ApiError, Call, Caller};
use towpath_store::Versioned;

#[derive(Clone, Default)]
pub struct Context(Vec<(String, String)>);

impl Context {
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.push((key.to_owned(), value.into()));
        self
    }

    pub fn boundary(self, arn: Option<&str>) -> Self {
        match arn {
            Some(arn) => self.with("iam:PermissionsBoundary", arn),
            None => self,
        }
    }

    /// Tags that the request brings.
    pub fn request_tags(mut self, tags: &[Tag]) -> Self {
        for tag in tags {
            self =
                self.with(&format!("aws:RequestTag/{}", tag.key), &tag.value).with("aws:TagKeys", &tag.key);
        }
        self
    }

    pub fn tag_keys(mut self, keys: &[String]) -> Self {
        for key in keys {
            self = self.with("aws:TagKeys", key);
        }
        self
    }

    pub fn resource_tags(mut self, tags: &[Tag]) -> Self {
        for tag in tags {
            self = self
                .with(&format!("aws:ResourceTag/{}", tag.key), &tag.value)
                .with(&format!("iam:ResourceTag/{}", tag.key), &tag.value);
        }
        self
    }

    pub fn authorize(&self, call: &Call, action: &str, resource: &str) -> Result<(), ApiError> {
        let pairs: Vec<(&str, &str)> =
            self.0.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        call.authorize(action, resource, &pairs)
    }
}

impl IdentityService {
    /// Looks an entity up, authorizes `action` on it, and only then says that it does not exist.
    pub(super) async fn authorized<E: Entity>(
        &self,
        call: &Call,
        action: &str,
        name: &str,
        context: Context,
    ) -> Result<Versioned<E>, ApiError> {
        let found = self.find::<E>(name).await?;
        let (arn, context) = match &found {
            Some(entity) => (entity.arn(self.account()), context.resource_tags(entity.tags())),
            None => (entity_arn(self.account(), E::ENTITY, "/", name), context),
        };
        context.authorize(call, action, &arn)?;
        found.ok_or_else(|| Problem::NoEntity { kind: E::ENTITY, name: name.to_owned() }.into())
    }

    /// The user that an operation without a user name means: the caller.
    pub(super) fn named_or_calling_user(
        &self,
        call: &Call,
        name: Option<String>,
    ) -> Result<String, ApiError> {
        match (name, &call.caller) {
            (Some(name), _) => Ok(name),
            (None, Caller::User { name, .. }) => Ok(name.clone()),
            (None, _) => Err(Problem::Validation(
                "Must specify userName when calling with non-User credentials".to_owned(),
            )
            .into()),
        }
    }
}
