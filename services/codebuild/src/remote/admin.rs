//! Workers as people see them: `/_towpath/workers` and their tokens, signed like every other call and
//! authorized by IAM: `towpath:ListWorkers` on `arn:aws:towpath:…:worker/*`, and `towpath:CreateWorkerToken`,
//! `towpath:ListWorkerTokens`, `towpath:DeleteWorkerToken` on `arn:aws:towpath:…:worker-token/ID`.

use super::tokens::{self, TokenDoc, WorkerDoc};
use crate::CodeBuildService;
use crate::store::{BuildDoc, CountersDoc};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use towpath_api::{ApiError, Call, async_trait};
use towpath_store::{Document, Order, Store, StoreError, Txn};
use towpath_wire::server::auth::{Authenticator, Payload};
use towpath_wire::server::body;
use towpath_wire::server::handler::{answer, json_error};
use towpath_wire::{Handler, Request, Response};

/// What every path of this door begins with.
pub const ADMIN_PREFIX: &str = "/_towpath/workers";
const MAX_BODY_BYTES: usize = 16 << 10;
const BODY_TIME: Duration = Duration::from_secs(30);
const MAX_TOKENS: usize = 1000;
const MAX_NOTE_BYTES: usize = 200;
const DEFAULT_DAYS: i64 = 365;
const MAX_DAYS: i64 = 3650;
const DAY_MS: i64 = 86_400_000;
/// A worker that was not seen for this long is not shown.
const FORGOTTEN_MS: i64 = 7 * DAY_MS;
const PAGE: usize = 500;

pub struct AdminDoor {
    service: Arc<CodeBuildService>,
    authenticator: Authenticator,
}

impl CodeBuildService {
    /// The handler for everything below [`ADMIN_PREFIX`].
    pub fn admin_door(self: &Arc<Self>, authenticator: Authenticator) -> AdminDoor {
        AdminDoor { service: self.clone(), authenticator }
    }
}

impl CodeBuildService {
    /// A token for `days`, on behalf of whom the ARN names. Its text is in the answer and nowhere else.
    pub async fn make_worker_token(
        &self,
        note: &str,
        created_by: &str,
        days: i64,
    ) -> Result<Value, ApiError> {
        if !(1..=MAX_DAYS).contains(&days) {
            return Err(ApiError::validation(format!("A token lasts 1 to {MAX_DAYS} days.")));
        }
        if note.len() > MAX_NOTE_BYTES || note.chars().any(char::is_control) {
            return Err(ApiError::validation(format!(
                "A note is one line of at most {MAX_NOTE_BYTES} bytes."
            )));
        }
        if all::<TokenDoc>(&self.store).await?.len() >= MAX_TOKENS {
            return Err(ApiError::validation(format!("There are {MAX_TOKENS} tokens already; delete some.")));
        }
        let (doc, text) =
            tokens::mint(note.to_owned(), created_by.to_owned(), self.store.now(), days * DAY_MS);
        let mut txn = Txn::new();
        txn.create(&doc);
        self.store.commit(txn).await?;
        let mut shown = shown(&doc);
        shown["token"] = json!(text);
        Ok(shown)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    #[serde(default)]
    note: String,
    days: Option<i64>,
}

#[async_trait]
impl Handler for AdminDoor {
    async fn handle(&self, request: Request) -> Response {
        match self.answer(request).await {
            Ok(content) => answer(StatusCode::OK, "application/json", content.to_string()),
            Err(error) => {
                if let Some(cause) = &error.cause {
                    tracing::error!(%cause, "a request about workers failed");
                }
                json_error(&error)
            }
        }
    }
}

impl AdminDoor {
    async fn answer(&self, request: Request) -> Result<Value, ApiError> {
        let (parts, content) = request.into_parts();
        let content = body::read(content, MAX_BODY_BYTES, BODY_TIME).await;
        let content = content.map_err(|error| error.to_api_error())?;
        let payload = Payload::Bytes(&content);
        let call = self.authenticator.authenticate(&parts, "towpath", payload).await?;
        let path = parts.uri.path().strip_prefix(ADMIN_PREFIX).unwrap_or_default();
        match (&parts.method, path) {
            (&Method::GET, "") => self.workers(&call).await,
            (&Method::GET, "/tokens") => self.tokens(&call).await,
            (&Method::POST, "/tokens") => self.create(&call, &content).await,
            (&Method::DELETE, path) if path.starts_with("/tokens/") => {
                self.delete(&call, path.trim_start_matches("/tokens/")).await
            }
            (method, path) => {
                let message = format!("Towpath has no {method} {ADMIN_PREFIX}{path}.");
                Err(ApiError::client("UnknownOperationException", message).with_status(404))
            }
        }
    }

    async fn create(&self, call: &Call, content: &[u8]) -> Result<Value, ApiError> {
        call.authorize("towpath:CreateWorkerToken", &call.arn("towpath", "worker-token/*"), &[])?;
        let ask: NewToken = serde_json::from_slice(content)
            .map_err(|error| ApiError::validation(format!("The body is wrong: {error}")))?;
        let days = ask.days.unwrap_or(DEFAULT_DAYS);
        self.service.make_worker_token(&ask.note, &call.caller.arn(), days).await
    }

    async fn tokens(&self, call: &Call) -> Result<Value, ApiError> {
        call.authorize("towpath:ListWorkerTokens", &call.arn("towpath", "worker-token/*"), &[])?;
        let tokens = all::<TokenDoc>(&self.service.store).await?;
        Ok(json!({ "tokens": tokens.iter().map(shown).collect::<Vec<_>>() }))
    }

    /// Takes effect with the answer: the next request that shows it is refused.
    async fn delete(&self, call: &Call, token_id: &str) -> Result<Value, ApiError> {
        let arn = call.arn("towpath", format!("worker-token/{token_id}"));
        call.authorize("towpath:DeleteWorkerToken", &arn, &[])?;
        let store = &self.service.store;
        let missing = || {
            let message = format!("There is no token {token_id}.");
            ApiError::client("ResourceNotFoundException", message).with_status(404)
        };
        let doc = store.get::<TokenDoc>(token_id).await?.ok_or_else(missing)?;
        let mut txn = Txn::new();
        txn.delete(&doc);
        match store.commit(txn).await {
            Ok(()) => Ok(json!({})),
            Err(StoreError::Conflict { .. }) => Err(missing()),
            Err(error) => Err(error.into()),
        }
    }

    async fn workers(&self, call: &Call) -> Result<Value, ApiError> {
        call.authorize("towpath:ListWorkers", &call.arn("towpath", "worker/*"), &[])?;
        let store = &self.service.store;
        let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for counters in all::<CountersDoc>(store).await? {
            for id in &counters.active {
                let key = BuildDoc::key_of(&counters.account, &counters.region, id);
                let Some(doc) = store.get::<BuildDoc>(&key).await? else { continue };
                if let Some(holder) = &doc.holder {
                    let key = WorkerDoc::key_of(&holder.token_id, &holder.worker);
                    running.entry(key).or_default().push(id.clone());
                }
            }
        }
        let now = store.now();
        let mut workers = Vec::new();
        for worker in all::<WorkerDoc>(store).await? {
            let builds = running.remove(&worker.key()).unwrap_or_default();
            if builds.is_empty() && now.since_millis(worker.last_seen) > FORGOTTEN_MS {
                continue;
            }
            workers.push(json!({
                "name": worker.name,
                "tokenId": worker.token_id,
                "slots": worker.slots,
                "lastSeen": worker.last_seen.as_millis() as f64 / 1000.0,
                "builds": builds,
            }));
        }
        Ok(json!({ "workers": workers }))
    }
}

fn shown(doc: &TokenDoc) -> Value {
    json!({
        "id": doc.id,
        "note": doc.note,
        "createdAt": doc.created_at.as_millis() as f64 / 1000.0,
        "createdBy": doc.created_by,
        "expiresAt": doc.expires_at.as_millis() as f64 / 1000.0,
    })
}

/// Every document of a kind of which there are few.
async fn all<D: Document>(store: &Store) -> Result<Vec<D>, ApiError> {
    let mut docs = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list::<D>("", after.as_deref(), PAGE, Order::Ascending).await?;
        docs.extend(page.items.into_iter().map(towpath_store::Versioned::into_doc));
        after = page.next;
        if after.is_none() {
            return Ok(docs);
        }
    }
}
