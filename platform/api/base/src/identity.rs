//! The port to whoever keeps credentials and roles. Implemented by `services/iam`.

use crate::{ApiError, Call, Caller, Gate, Timestamp, async_trait};
use std::sync::Arc;

/// What an access key stands for.
#[derive(Clone)]
pub struct Credential {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub caller: Caller,
    pub gate: Arc<dyn Gate>,
}

/// Temporary credentials of a role, as `sts:AssumeRole` gives them.
#[derive(Clone, Debug)]
pub struct SessionCredentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expires_at: Timestamp,
}

#[async_trait]
pub trait Identity: Send + Sync {
    /// The credential behind an access key: `Ok(None)` when there is none, or it is inactive; an error
    /// (`ExpiredToken`, `InvalidClientTokenId`) when the session token does not go with it.
    async fn credential(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
    ) -> Result<Option<Credential>, ApiError>;

    /// A request that this key signed was authenticated: what GetAccessKeyLastUsed tells. Must cost nothing.
    fn note_use(&self, _access_key_id: &str, _service: &str, _region: &str, _at: Timestamp) {}

    /// A service-specific credential (Git over HTTP): `None` unless user name and password match an
    /// active one for `service` (`codecommit.amazonaws.com`).
    async fn service_specific(
        &self,
        service: &str,
        user_name: &str,
        password: &str,
    ) -> Result<Option<Credential>, ApiError>;

    /// A call made by a service under a role that it was given: the role must exist and its trust
    /// policy must allow `service` (`codebuild.amazonaws.com`) to assume it.
    async fn service_call(&self, service: &str, role_arn: &str, session_name: &str)
    -> Result<Call, ApiError>;

    /// Credentials for the same, to be handed to a program (a build's commands).
    async fn service_credentials(
        &self,
        service: &str,
        role_arn: &str,
        session_name: &str,
        duration_seconds: u32,
    ) -> Result<SessionCredentials, ApiError>;
}
