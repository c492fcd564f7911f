//! Who sends a request: SigV4 against the identity port.
//!
//! Two steps, so that a body is read only for someone who may be known: [`Authenticator::begin`] needs
//! the head alone, [`Pending::finish`] the body's hash.

use super::handler::{Peer, RequestId};
use crate::sigv4::{
    self, EMPTY_SHA256, PathStyle, Placement, Presented, SignatureError, UNSIGNED_PAYLOAD, sha256_hex,
};
use http::request::Parts;
use std::sync::Arc;
use towpath_api::{ApiError, Call, Clock, Credential, Identity, Timestamp, id};

/// Why a request has no caller.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The identity port's own error (`ExpiredToken`), or its failure.
    #[error(transparent)]
    Identity(#[from] ApiError),
}

impl AuthError {
    pub fn into_api_error(self, dialect: sigv4::Dialect) -> ApiError {
        match self {
            AuthError::Signature(error) => error.to_api_error(dialect),
            AuthError::Identity(error) => error,
        }
    }
}

/// What a signature's scope must name.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub service: &'a str,
    /// A global service is signed for whatever region its client thinks of.
    pub global: bool,
}

/// How much is known of the body.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// All of it.
    Bytes(&'a [u8]),
    /// Its SHA-256 in lower-case hex.
    Sha256(&'a str),
}

/// Checks signatures for the whole server. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    identity: Arc<dyn Identity>,
    clock: Arc<dyn Clock>,
    account: Arc<str>,
    region: Arc<str>,
}

/// A caller whose key is known and whose signature is not checked yet.
pub struct Pending {
    presented: Presented,
    credential: Credential,
    identity: Arc<dyn Identity>,
    now: Timestamp,
}

impl Authenticator {
    pub fn new(identity: Arc<dyn Identity>, clock: Arc<dyn Clock>, account: &str, region: &str) -> Self {
        Authenticator { identity, clock, account: account.into(), region: region.into() }
    }

    pub fn identity(&self) -> &Arc<dyn Identity> {
        &self.identity
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub fn account(&self) -> &str {
        &self.account
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// For mounted handlers that want SigV4: the whole check at once. The answer's error has the codes of
    /// the JSON protocols.
    pub async fn authenticate(
        &self,
        parts: &Parts,
        service: &str,
        payload: Payload<'_>,
    ) -> Result<Call, ApiError> {
        let check = async {
            let pending = self.begin(parts, Expected { service, global: false }).await?;
            Ok::<_, AuthError>(self.call(parts, pending.finish(parts, payload)?))
        };
        check.await.map_err(|error| error.into_api_error(sigv4::Dialect::Json))
    }

    /// Everything that the head can show: form, time, scope, signed headers, and a known access key.
    pub async fn begin(&self, parts: &Parts, expected: Expected<'_>) -> Result<Pending, AuthError> {
        let presented = sigv4::parse(parts)?;
        presented.check_time(self.clock.now())?;
        let region = (!expected.global).then_some(&*self.region);
        presented.check_scope(expected.service, region)?;
        presented.check_signed_headers(parts)?;
        let token = presented.session_token.as_deref();
        let credential = self
            .identity
            .credential(&presented.access_key_id, token)
            .await?
            .ok_or(SignatureError::UnknownKey)?;
        Ok(Pending { presented, credential, identity: self.identity.clone(), now: self.clock.now() })
    }

    /// The call of an authenticated caller, also for one that a handler authenticated by other means.
    pub fn call(&self, parts: &Parts, credential: Credential) -> Call {
        let peer = parts.extensions.get::<Peer>();
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_else(id::uuid);
        Call {
            request_id,
            account: self.account.to_string(),
            region: self.region.to_string(),
            at: self.clock.now(),
            caller: credential.caller,
            source_ip: peer.map(|peer| peer.address.ip()),
            secure: peer.is_some_and(|peer| peer.secure),
            gate: credential.gate,
        }
    }
}

impl Pending {
    /// Checks the signature over head and body. The body must be signed: `UNSIGNED-PAYLOAD` is S3's.
    pub fn finish(self, parts: &Parts, payload: Payload) -> Result<Credential, AuthError> {
        let hash = match payload {
            Payload::Bytes([]) => EMPTY_SHA256.to_owned(),
            Payload::Bytes(bytes) => sha256_hex(bytes),
            Payload::Sha256(hex) => hex.to_owned(),
        };
        let claimed = parts.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
        if let (Placement::Header, Some(claimed)) = (self.presented.placement, claimed)
            && claimed != hash
        {
            let text = if claimed == UNSIGNED_PAYLOAD || claimed.starts_with("STREAMING-") {
                format!("This service does not accept '{claimed}': the body must be signed.")
            } else {
                "The provided 'x-amz-content-sha256' header does not match what was computed.".to_owned()
            };
            return Err(SignatureError::Invalid(text).into());
        }
        let secret = &self.credential.secret_access_key;
        let scope = self.presented.scope.clone();
        sigv4::verify(parts, self.presented, secret, PathStyle::Normalized, &hash)?;
        let key = &self.credential.access_key_id;
        self.identity.note_use(key, &scope.service, &scope.region, self.now);
        Ok(self.credential)
    }
}
