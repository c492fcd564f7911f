//! What a worker and a server say to each other: JSON over `POST /_towpath/work/NAME`, with the worker's
//! token as the bearer; two paths move tar archives instead.
//!
//! Both ends are the same version of the same program, or close: unknown members are ignored.

use crate::Bounds;
use crate::store::BuildDoc;
use crate::work::assignment::Step;
use serde::{Deserialize, Serialize};
use towpath_api::SessionCredentials;
use towpath_api_logs::InputLogEvent;

/// How long a claim is held open while there is nothing to do. A worker that is told to stop waits for the
/// answer, lest a build be given to nobody.
pub const CLAIM_WAIT_MS: u64 = 2_000;
/// How long a renewal is held open while nothing happens to the build. A server that stands still must be noticed,
/// and another be asked, within one lease.
pub const KEEP_WAIT_MS: u64 = 3_000;
/// The head of a request that moves an archive: [`Hold`] and the step's number, as JSON.
pub const DELIVERY_HEADER: &str = "x-towpath-delivery";
/// The commit of a source, where there is one.
pub const COMMIT_HEADER: &str = "x-towpath-commit";
pub const MAX_SLOTS: usize = 256;

/// Which build, and the proof of the hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The build's key in the store.
    pub build: String,
    pub fence: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Claim {
    pub name: String,
    pub slots: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ClaimAnswer {
    pub claimed: Option<Claimed>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Claimed {
    pub hold: Hold,
    pub lease_ms: i64,
    pub doc: BuildDoc,
    /// The server says what a build may use, wherever it runs.
    #[serde(default)]
    pub bounds: Bounds,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct KeepAnswer {
    pub lease_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Opening {
    pub credentials: Option<Credentials>,
    /// What the service role does not allow, in place of everything else.
    pub denied: Option<DeniedBody>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct DeniedBody {
    pub what: String,
    pub code: String,
    pub message: String,
    pub status: u16,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expires_at: towpath_api::Timestamp,
}

impl From<SessionCredentials> for Credentials {
    fn from(from: SessionCredentials) -> Self {
        let SessionCredentials { access_key_id, secret_access_key, session_token, expires_at } = from;
        Credentials { access_key_id, secret_access_key, session_token, expires_at }
    }
}

impl From<Credentials> for SessionCredentials {
    fn from(from: Credentials) -> Self {
        let Credentials { access_key_id, secret_access_key, session_token, expires_at } = from;
        SessionCredentials { access_key_id, secret_access_key, session_token, expires_at }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct StepRequest {
    pub hold: Hold,
    /// 1 for the first step after the claim. The same number again is the same step again.
    pub number: u64,
    pub step: Step,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct DocAnswer {
    pub doc: BuildDoc,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct LogRequest {
    pub hold: Hold,
    /// 1 for the first batch after the claim. The same number again is the same batch again, and stored once.
    /// Workers of 0.1.0 send none: what they send again may be stored again.
    #[serde(default)]
    pub number: Option<u64>,
    pub events: Vec<InputLogEvent>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SourceRequest {
    pub hold: Hold,
    /// Its place in the build's sources, the primary one first.
    pub index: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct TextAnswer {
    pub text: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Delivery {
    pub hold: Hold,
    pub number: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Empty {}
