//! Temporary credentials: what a session token says, and how one is made and opened.

use crate::problem::Problem;
use crate::service::IdentityService;
use serde::{Deserialize, Serialize};
use towpath_api::{ApiError, SessionCredentials, Timestamp, id};

/// Sealed into a session token. Everything that a request under it needs; the role or user is looked up
/// each time, so that whatever becomes of it holds at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    pub access_key_id: String,
    pub of: SessionOf,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// Session policies: documents, and ARNs of managed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_arns: Vec<String>,
    /// The number of the vault's key that the token is sealed with. Not in the token.
    #[serde(skip)]
    pub key: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum SessionOf {
    Role { id: String, session_name: String },
    User { id: String },
    Root,
}

const BINDING: &str = "session token";

impl IdentityService {
    pub(crate) fn issue(
        &self,
        of: SessionOf,
        seconds: i64,
        policy: Option<String>,
        policy_arns: Vec<String>,
    ) -> Result<SessionCredentials, Problem> {
        let issued_at = self.store.wall();
        let expires_at = issued_at.plus_millis(seconds.saturating_mul(1000));
        let access_key_id = id::iam_id("ASIA", 20);
        let of_key = access_key_id.clone();
        let session =
            Session { access_key_id: of_key, of, issued_at, expires_at, policy, policy_arns, key: 0 };
        let json = serde_json::to_vec(&session).map_err(|error| Problem::Validation(error.to_string()))?;
        let session_token = self.vault.seal(BINDING, &json)?;
        let secret_access_key = self.vault.session_secret(0, &access_key_id);
        Ok(SessionCredentials { access_key_id, secret_access_key, session_token, expires_at })
    }

    /// An error when the token is not ours, belongs to another key, or has expired.
    pub(crate) fn open_token(&self, access_key_id: &str, token: &str) -> Result<Session, ApiError> {
        let session = self
            .vault
            .open_with(BINDING, token)
            .ok()
            .and_then(|opened| {
                let session = serde_json::from_slice::<Session>(&opened.plain).ok()?;
                Some(Session { key: opened.key, ..session })
            })
            .filter(|session| session.access_key_id == access_key_id)
            .ok_or_else(invalid_token)?;
        check_expiry(session.expires_at, self.store.wall())?;
        Ok(session)
    }
}

pub(crate) fn check_expiry(expires_at: Timestamp, now: Timestamp) -> Result<(), ApiError> {
    if now < expires_at {
        return Ok(());
    }
    Err(ApiError::client("ExpiredToken", "The security token included in the request is expired")
        .with_status(403))
}

pub(crate) fn invalid_token() -> ApiError {
    ApiError::client("InvalidClientTokenId", "The security token included in the request is invalid.")
        .with_status(403)
}
