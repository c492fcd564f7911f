//! The door for workers: `/_towpath/work/`. Every request carries a token; all but a claim name a build and
//! the fence of its lease.
//!
//! **Limits**: bodies by their kind, transfers at one time, and how long a request is held open.

use super::protocol::{Claim, DELIVERY_HEADER, Delivery, Hold, LogRequest, SourceRequest, StepRequest};
use super::tokens::{self, TokenDoc};
use crate::CodeBuildService;
use http::{HeaderMap, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use towpath_api::{ApiError, Timestamp, async_trait};
use towpath_durable::Shutdown;
use towpath_wire::server::body;
use towpath_wire::server::handler::{answer, json_error};
use towpath_wire::{Handler, Request, Response};

/// What every path of this door begins with.
pub const PREFIX: &str = "/_towpath/work/";
const MAX_SMALL_BODY_BYTES: usize = 64 << 10;
/// A batch of log lines is at most 800 KiB of text; JSON may escape each byte.
const MAX_LOG_BODY_BYTES: usize = 6 << 20;
const BODY_TIME: Duration = Duration::from_secs(30);
/// Sources and results that move at the same time; others wait.
const TRANSFERS: usize = 16;

/// Answers workers.
pub struct WorkDoor {
    pub(super) service: Arc<CodeBuildService>,
    pub(super) transfers: Arc<Semaphore>,
    /// When each worker's document was last written.
    pub(super) noted: Mutex<BTreeMap<String, Timestamp>>,
    pub(super) shutdown: Shutdown,
}

impl CodeBuildService {
    /// The handler for everything below [`PREFIX`]. Requests that wait end at `shutdown`.
    pub fn work_door(self: &Arc<Self>, shutdown: Shutdown) -> WorkDoor {
        WorkDoor {
            service: self.clone(),
            transfers: Arc::new(Semaphore::new(TRANSFERS)),
            noted: Mutex::default(),
            shutdown,
        }
    }
}

#[async_trait]
impl Handler for WorkDoor {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(request).await {
            Ok(response) => response,
            Err(error) => {
                if let Some(cause) = &error.cause {
                    tracing::error!(%cause, "a worker's request failed");
                }
                json_error(&error)
            }
        }
    }
}

/// The hold is not this worker's, or no longer. Which of the two is nobody's business.
pub(super) fn not_held() -> ApiError {
    let message = "This worker does not hold this build, or no longer.";
    ApiError::client("BuildNotHeldException", message).with_status(409)
}

fn unknown_token() -> ApiError {
    let message = "The token is not known, was revoked, or has expired.";
    ApiError::client("UnrecognizedWorkerTokenException", message).with_status(401)
}

impl WorkDoor {
    async fn answer(&self, request: Request) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let token = self.authenticate(&parts.headers).await?;
        let name = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default();
        if parts.method != Method::POST {
            return Err(unknown_path(&parts.method, name));
        }
        if name == "results" {
            let delivery: Delivery = delivery(&parts.headers)?;
            return json(&self.receive(&token, delivery, body).await?);
        }
        let limit = if name == "log" { MAX_LOG_BODY_BYTES } else { MAX_SMALL_BODY_BYTES };
        let content = body::read(body, limit, BODY_TIME).await.map_err(|error| error.to_api_error())?;
        match name {
            "claim" => json(&self.claim(&token, parse::<Claim>(&content)?).await?),
            "keep" => json(&self.keep(&token, parse::<Hold>(&content)?).await?),
            "open" => json(&self.open(&token, parse::<Hold>(&content)?).await?),
            "step" => json(&self.step(&token, parse::<StepRequest>(&content)?).await?),
            "log" => json(&self.log(&token, parse::<LogRequest>(&content)?).await?),
            "buildspec" => json(&self.buildspec(&token, parse::<Hold>(&content)?).await?),
            "release" => json(&self.release(&token, parse::<Hold>(&content)?).await?),
            "source" => self.source(&token, parse::<SourceRequest>(&content)?).await,
            _ => Err(unknown_path(&parts.method, name)),
        }
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<TokenDoc, ApiError> {
        let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let text = presented.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(unknown_token)?;
        tokens::verify(&self.service.store, text.trim()).await?.ok_or_else(unknown_token)
    }
}

fn unknown_path(method: &Method, name: &str) -> ApiError {
    let message = format!("Towpath has no {method} {PREFIX}{name}.");
    ApiError::client("UnknownOperationException", message).with_status(404)
}

fn parse<T: DeserializeOwned>(content: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(content)
        .map_err(|error| ApiError::client("SerializationException", format!("The body is wrong: {error}")))
}

fn delivery(headers: &HeaderMap) -> Result<Delivery, ApiError> {
    let head = headers.get(DELIVERY_HEADER).ok_or_else(|| {
        ApiError::client("SerializationException", format!("The header {DELIVERY_HEADER} is missing."))
    })?;
    parse(head.as_bytes())
}

fn json<T: Serialize>(value: &T) -> Result<Response, ApiError> {
    let content = serde_json::to_vec(value).map_err(ApiError::internal)?;
    Ok(answer(StatusCode::OK, "application/json", content))
}
