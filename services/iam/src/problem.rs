//! The domain's errors, with AWS's texts, and the one place where they become AWS's codes.
//! Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html> and each operation's page.

use crate::documents::EntityKind;
use crate::vault::VaultError;
use towpath_api::ApiError;
use towpath_api_iam::errors;
use towpath_policy::PolicyError;
use towpath_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("The {} with name {name} cannot be found.", .kind.as_str())]
    NoEntity { kind: EntityKind, name: String },
    #[error("The {} policy with name {name} cannot be found.", .kind.as_str())]
    NoInlinePolicy { kind: EntityKind, name: String },
    #[error("Policy {0} was not found.")]
    NoPolicy(String),
    #[error("Policy {0} does not exist or is not attachable.")]
    NotAttachable(String),
    #[error("Scope ARN: {0} does not exist or is not attachable.")]
    BoundaryNotAttachable(String),
    #[error("Policy {arn} version {version} does not exist or is not attachable.")]
    NoVersion { arn: String, version: String },
    #[error("The Access Key with id {0} cannot be found.")]
    NoAccessKey(String),
    #[error("The service-specific credential with id {0} cannot be found.")]
    NoCredential(String),
    #[error("{} with name {name} does not have a permissions boundary.", capital(.kind.as_str()))]
    NoBoundary { kind: EntityKind, name: String },
    #[error("{} with name {name} already exists.", capital(.kind.as_str()))]
    EntityExists { kind: EntityKind, name: String },
    #[error("A policy called {0} already exists. Duplicate names are not allowed.")]
    PolicyExists(String),
    #[error("Cannot delete entity, must {0} first.")]
    EntityInUse(&'static str),
    #[error("Cannot delete a policy attached to entities.")]
    PolicyInUse,
    #[error(
        "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy."
    )]
    PolicyHasVersions,
    #[error("Cannot delete the default version of a policy.")]
    DefaultVersion,
    #[error("Cannot exceed quota for {name}: {limit}")]
    Quota { name: &'static str, limit: usize },
    #[error(
        "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version."
    )]
    VersionQuota,
    #[error("Maximum policy size of {limit} bytes exceeded for {} {name}", .kind.as_str())]
    InlineSize { kind: EntityKind, name: String, limit: usize },
    #[error("The number of tags has reached the maximum limit.")]
    TagQuota,
    #[error("{0}")]
    InvalidInput(String),
    #[error("{0}")]
    Validation(String),
    #[error("{0}")]
    Malformed(#[from] PolicyError),
    #[error("Service {0} does not support service specific credentials; codecommit.amazonaws.com does.")]
    ServiceNotSupported(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

fn capital(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> ApiError {
        let message = problem.to_string();
        match problem {
            Problem::NoEntity { .. }
            | Problem::NoInlinePolicy { .. }
            | Problem::NoPolicy(_)
            | Problem::NotAttachable(_)
            | Problem::BoundaryNotAttachable(_)
            | Problem::NoVersion { .. }
            | Problem::NoAccessKey(_)
            | Problem::NoCredential(_)
            | Problem::NoBoundary { .. } => errors::no_such_entity_exception(message),
            Problem::EntityExists { .. } | Problem::PolicyExists(_) => {
                errors::entity_already_exists_exception(message)
            }
            Problem::EntityInUse(_)
            | Problem::PolicyInUse
            | Problem::PolicyHasVersions
            | Problem::DefaultVersion => errors::delete_conflict_exception(message),
            Problem::Quota { .. }
            | Problem::VersionQuota
            | Problem::InlineSize { .. }
            | Problem::TagQuota => errors::limit_exceeded_exception(message),
            Problem::InvalidInput(_) => errors::invalid_input_exception(message),
            Problem::Validation(_) => ApiError::client("ValidationError", message),
            Problem::Malformed(_) => errors::malformed_policy_document_exception(message),
            Problem::ServiceNotSupported(_) => errors::service_not_supported_exception(message),
            Problem::Store(StoreError::Conflict { .. }) => errors::concurrent_modification_exception(
                "The request was rejected because multiple requests to change this object were submitted simultaneously. Wait a few minutes and submit your request again.",
            ),
            Problem::Store(error) => ApiError::internal(error),
            Problem::Vault(error) => ApiError::internal(error),
        }
    }
}
