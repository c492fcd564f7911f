//! What a worker may do with a build: take one from the queue, keep it, and take it through its phases.

use super::door::{WorkDoor, not_held};
use super::protocol::*;
use super::tokens::{TokenDoc, WorkerDoc};
use crate::state::{Context, Input, MAX_DEATHS, MAX_MESSAGE_BYTES, PhaseKind, Rejected, State, Status};
use crate::store::{BUILDS_QUEUE, BuildDoc, Holder};
use crate::work::assignment::{Denied, Facts, Step};
use crate::work::local::LogWriter;
use crate::work::source::BuildspecFailure;
use crate::work::{LEASE_MS, jobs};
use crate::{AdvanceError, reports};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;
use towpath_api::{ApiError, Timestamp, id};
use towpath_store::{Lease, StoreError, Txn, Versioned};

/// A look at the build although nothing told of a change: it may have been stopped on another server.
const LOOK_AGAIN: Duration = Duration::from_millis(900);
/// The same for the queue.
const LOOK_FOR_BUILDS: Duration = Duration::from_secs(2);
const NOTE_EVERY_MS: i64 = 10_000;
const MAX_NOTED: usize = 10_000;
const MAX_PHASES: usize = 16;
const MAX_CODE_BYTES: usize = 128;
const MAX_VERSION_BYTES: usize = 256;
const MAX_LOG_EVENTS: usize = 6_000;
/// What a worker itself says in a build's log, beyond what commands print.
pub(super) const LOG_ROOM_BYTES: u64 = 8 << 20;
/// A worker's clock is believed this far.
const MAX_SKEW_MS: i64 = 60_000;
/// Beyond a build's own timeout, which its worker minds.
const OVERTIME_MS: i64 = 10 * 60_000;

impl WorkDoor {
    /// The next build, or nothing after a while.
    pub(super) async fn claim(&self, token: &TokenDoc, ask: Claim) -> Result<ClaimAnswer, ApiError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if ask.name.is_empty() || ask.name.len() > 64 || !ask.name.bytes().all(good) {
            return Err(ApiError::validation("A worker's name has 1 to 64 letters, digits and . _ -"));
        }
        if ask.slots == 0 || ask.slots > MAX_SLOTS {
            return Err(ApiError::validation(format!("A worker has 1 to {MAX_SLOTS} slots.")));
        }
        self.note(token, &ask.name, Some(ask.slots)).await?;
        let until = Instant::now() + Duration::from_millis(CLAIM_WAIT_MS);
        let mut changed = self.service.store.queue_changed(BUILDS_QUEUE);
        while !self.shutdown.is_shutdown() {
            changed.borrow_and_update();
            if let Some(claimed) = self.take(token, &ask.name).await? {
                return Ok(ClaimAnswer { claimed: Some(claimed) });
            }
            let pause = LOOK_FOR_BUILDS.min(until.saturating_duration_since(Instant::now()));
            if pause.is_zero() {
                break;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.wait() => {}
            }
        }
        Ok(ClaimAnswer { claimed: None })
    }

    /// Claims jobs until one is a build to be run.
    async fn take(&self, token: &TokenDoc, worker: &str) -> Result<Option<Claimed>, ApiError> {
        let store = &self.service.store;
        loop {
            // Claiming writes, and most looks find nothing.
            if store.next_due(BUILDS_QUEUE).await?.is_none_or(|due| due > store.now()) {
                return Ok(None);
            }
            // The lease lives on when the server is started again.
            let owner = format!("{}{}", towpath_store::OUTSIDE, id::uuid());
            let leases = store.claim(BUILDS_QUEUE, &owner, LEASE_MS, 1).await?;
            let Some(lease) = leases.into_iter().next() else { return Ok(None) };
            let holder = Holder {
                worker: worker.to_owned(),
                token_id: token.id.clone(),
                fence: lease.fence,
                steps: 0,
                since: store.now(),
            };
            match self.begin(&lease, holder).await {
                Ok(Some(doc)) => {
                    let hold = Hold { build: lease.key.clone(), fence: lease.fence };
                    let bounds = self.service.config.bounds;
                    return Ok(Some(Claimed { hold, lease_ms: LEASE_MS, doc, bounds }));
                }
                Ok(None) => {}
                Err(error) => {
                    let mut txn = Txn::new();
                    txn.release(&lease, store.now().plus_millis(1000));
                    // Where even that fails, the lease ends by itself.
                    let _ = store.commit(txn).await;
                    return Err(error);
                }
            }
        }
    }

    /// A new attempt, or `None` where the job needs no worker: the build is over, or staged on a server.
    async fn begin(&self, lease: &Lease, holder: Holder) -> Result<Option<BuildDoc>, ApiError> {
        let claimed = |doc: &mut BuildDoc| {
            if !matches!(doc.progress.state, State::Publishing { .. }) {
                doc.holder = Some(holder.clone());
            }
            Input::Claimed
        };
        let settle = |doc: &BuildDoc, txn: &mut Txn| match doc.progress.state {
            State::Running { .. } => {
                txn.guard(lease);
            }
            State::Publishing { .. } => {
                txn.complete(lease);
                let place = doc.staged_at.as_deref().unwrap_or(&self.service.place);
                jobs::await_publishing(&self.service, doc, place, txn);
            }
            State::Queued | State::Finished { .. } => {
                txn.complete(lease);
            }
        };
        match self.service.advance(&lease.key, claimed, settle).await {
            Ok(doc) => Ok(Some(doc).filter(|doc| matches!(doc.progress.state, State::Running { .. }))),
            Err(AdvanceError::Gone | AdvanceError::Rejected(Rejected::Finished)) => {
                let mut txn = Txn::new();
                txn.complete(lease);
                match self.service.store.commit(txn).await {
                    Ok(()) | Err(StoreError::LeaseLost { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
            Err(AdvanceError::Store(error)) if error.is_lease_lost() => Ok(None),
            Err(AdvanceError::Store(error)) => Err(error.into()),
            Err(error @ AdvanceError::Rejected(_)) => Err(ApiError::internal(error)),
        }
    }

    /// Writes down that a worker is there, now and then. `slots` is known where it asks for builds.
    async fn note(&self, token: &TokenDoc, name: &str, slots: Option<usize>) -> Result<(), ApiError> {
        let store = &self.service.store;
        let now = store.now();
        let key = WorkerDoc::key_of(&token.id, name);
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = |at: &Timestamp| now.since_millis(*at).abs() < NOTE_EVERY_MS;
            if noted.get(&key).is_some_and(fresh) {
                return Ok(());
            }
            if noted.len() >= MAX_NOTED {
                noted.retain(|_, at| fresh(at));
            }
            noted.insert(key.clone(), now);
        }
        let slots = match slots {
            Some(slots) => slots,
            None => store.get::<WorkerDoc>(&key).await?.map_or(1, |known| known.slots),
        };
        let (token_id, name) = (token.id.clone(), name.to_owned());
        let mut txn = Txn::new();
        txn.put(&WorkerDoc { token_id, name, slots, last_seen: now });
        Ok(store.commit(txn).await?)
    }

    /// The build that a hold is for, if it is this token's.
    pub(super) async fn held(&self, token: &TokenDoc, hold: &Hold) -> Result<Versioned<BuildDoc>, ApiError> {
        let doc = self.service.store.get::<BuildDoc>(&hold.build).await?;
        let mine = |holder: &Holder| holder.token_id == token.id && holder.fence == hold.fence;
        doc.filter(|doc| doc.holder.as_ref().is_some_and(mine)).ok_or_else(not_held)
    }

    /// The same while it runs.
    pub(super) async fn running(
        &self,
        token: &TokenDoc,
        hold: &Hold,
    ) -> Result<(Versioned<BuildDoc>, Lease), ApiError> {
        let doc = self.held(token, hold).await?;
        if !matches!(doc.progress.state, State::Running { .. }) {
            return Err(not_held());
        }
        let lease = lease_of(hold);
        Ok((doc, lease))
    }

    /// Renews the lease, and answers when something happened to the build or after a while.
    pub(super) async fn keep(&self, token: &TokenDoc, hold: Hold) -> Result<KeepAnswer, ApiError> {
        let store = &self.service.store;
        let (doc, mut lease) = self.running(token, &hold).await?;
        let minutes = doc.project.timeout_in_minutes.unwrap_or(60).max(1);
        let since = doc.holder.as_ref().map_or(doc.started_at, |holder| holder.since);
        if store.now().since_millis(since) > minutes * 60_000 + OVERTIME_MS {
            let ended = |_: &BuildDoc, txn: &mut Txn| {
                txn.complete(&lease);
            };
            self.service.advance(&hold.build, |_| Input::TimedOut, ended).await.map_err(refusal)?;
            return Err(not_held());
        }
        store.renew(&mut lease, LEASE_MS).await.map_err(refused_by_store)?;
        if let Some(holder) = &doc.holder {
            self.note(token, &holder.worker, None).await?;
        }
        let until = Instant::now() + Duration::from_millis(KEEP_WAIT_MS);
        let mut changed = store.queue_changed(BUILDS_QUEUE);
        while !self.shutdown.is_shutdown() {
            changed.borrow_and_update();
            self.running(token, &hold).await?;
            let pause = LOOK_AGAIN.min(until.saturating_duration_since(Instant::now()));
            if pause.is_zero() {
                break;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.wait() => {}
            }
        }
        store.renew(&mut lease, LEASE_MS).await.map_err(refused_by_store)?;
        Ok(KeepAnswer { lease_ms: LEASE_MS })
    }

    /// The service role's credentials for the commands, and its log.
    pub(super) async fn open(&self, token: &TokenDoc, hold: Hold) -> Result<Opening, ApiError> {
        let (doc, _) = self.running(token, &hold).await?;
        let opened = async {
            let call = self.service.role(&doc).await.map_err(Denied::to(crate::work::ASSUME))?;
            self.service.open(&call, &doc).await
        };
        Ok(match opened.await {
            Ok(opened) => Opening { credentials: opened.credentials.map(Into::into), denied: None },
            Err(Denied { what, error }) => {
                let (code, message, status) = (error.code.into_owned(), error.message, error.status);
                Opening { credentials: None, denied: Some(DeniedBody { what, code, message, status }) }
            }
        })
    }

    pub(super) async fn buildspec(&self, token: &TokenDoc, hold: Hold) -> Result<TextAnswer, ApiError> {
        let (doc, _) = self.running(token, &hold).await?;
        let call = self.service.role(&doc).await?;
        let bytes = self.service.buildspec_object(&call, &doc).await.map_err(|error| match error {
            BuildspecFailure::Api(error) => error,
            other => ApiError::validation(other.to_string()),
        })?;
        let text = String::from_utf8(bytes);
        Ok(TextAnswer { text: text.map_err(|_| ApiError::validation("the buildspec is not UTF-8"))? })
    }

    pub(super) async fn log(&self, token: &TokenDoc, mut ask: LogRequest) -> Result<Empty, ApiError> {
        let (doc, _) = self.running(token, &ask.hold).await?;
        if ask.events.len() > MAX_LOG_EVENTS {
            return Err(ApiError::validation(format!("more than {MAX_LOG_EVENTS} log events")));
        }
        let call = self.service.role(&doc).await?;
        let now = self.service.store.now().as_millis();
        for event in &mut ask.events {
            let told = event.timestamp.unwrap_or(now);
            event.timestamp = Some(told.clamp(now - MAX_SKEW_MS, now + MAX_SKEW_MS));
        }
        // A worker keeps to the log's bound by itself; one that does not is refused here.
        let limit_bytes = self.service.config.bounds.log_bytes.saturating_add(LOG_ROOM_BYTES);
        let writer = LogWriter { id: format!("hold-{}", ask.hold.fence), limit_bytes };
        self.service.write_log((&call, &doc), writer, (ask.number, ask.events)).await?;
        Ok(Empty {})
    }

    /// A step of the state machine: those that a machine that runs commands has to take.
    pub(super) async fn step(&self, token: &TokenDoc, ask: StepRequest) -> Result<DocAnswer, ApiError> {
        let StepRequest { hold, number, step } = ask;
        if let Some(doc) = self.taken_already(token, &hold, number).await? {
            return Ok(DocAnswer { doc });
        }
        let (doc, lease) = self.running(token, &hold).await?;
        let step = permitted(step, &doc)?;
        let settle = |doc: &BuildDoc, txn: &mut Txn| {
            match doc.progress.status() {
                Some(_) => txn.complete(&lease),
                None => txn.guard(&lease),
            };
        };
        let advanced = self.service.advance(&hold.build, |doc| counted(doc, number, &step), settle).await;
        Ok(DocAnswer { doc: advanced.map_err(refusal)? })
    }

    /// The build as it is, where the step of this number is taken; an error where it is not the next.
    pub(super) async fn taken_already(
        &self,
        token: &TokenDoc,
        hold: &Hold,
        number: u64,
    ) -> Result<Option<BuildDoc>, ApiError> {
        let doc = self.held(token, hold).await?;
        let taken = doc.holder.as_ref().map_or(0, |holder| holder.steps);
        match number {
            number if number == taken && taken > 0 => Ok(Some(doc.into_doc())),
            number if number == taken + 1 => Ok(None),
            _ => Err(ApiError::validation(format!("step {number} does not follow step {taken}"))),
        }
    }

    /// Gives the job back, so that the build runs again at once; or lets it go where the build is over.
    pub(super) async fn release(&self, token: &TokenDoc, hold: Hold) -> Result<Empty, ApiError> {
        let doc = self.held(token, &hold).await?;
        let lease = lease_of(&hold);
        let mut txn = Txn::new();
        match doc.progress.state {
            State::Running { .. } => txn.release(&lease, self.service.store.now()),
            _ => txn.complete(&lease),
        };
        self.service.store.commit(txn).await.map_err(refused_by_store)?;
        Ok(Empty {})
    }
}

fn lease_of(hold: &Hold) -> Lease {
    Lease {
        queue: BUILDS_QUEUE.to_owned(),
        key: hold.build.clone(),
        payload: serde_json::Value::Null,
        attempt: MAX_DEATHS,
        fence: hold.fence,
        expires_at: Timestamp::EPOCH,
    }
}

/// The step's input, with its number written down.
pub(super) fn counted(doc: &mut BuildDoc, number: u64, step: &Step) -> Input {
    if let Some(holder) = &mut doc.holder {
        holder.steps = number;
    }
    step.apply(doc)
}

pub(super) fn refused_by_store(error: StoreError) -> ApiError {
    if error.is_lease_lost() { not_held() } else { error.into() }
}

pub(super) fn refusal(error: AdvanceError) -> ApiError {
    match error {
        AdvanceError::Gone | AdvanceError::Rejected(Rejected::Finished) => not_held(),
        AdvanceError::Rejected(error) => ApiError::validation(error.to_string()),
        AdvanceError::Store(error) => refused_by_store(error),
    }
}

/// What a worker may say about its build, cut to bounds. It may not claim, stop or publish; and a build that
/// has not failed ends only by handing over its results.
fn permitted(step: Step, doc: &BuildDoc) -> Result<Step, ApiError> {
    let wrong = |what: &str| ApiError::validation(format!("a worker may not {what}"));
    let input = match step.input {
        Input::PhaseDone { .. } if doc.progress.phases.len() >= MAX_PHASES => {
            return Err(wrong("go through more phases than there are"));
        }
        Input::PhaseDone { next, .. } if !follows(doc, next) => {
            return Err(wrong("go through the phases in another order"));
        }
        Input::PhaseDone { status: Status::Stopped | Status::TimedOut, .. } => {
            return Err(wrong("end a phase like that"));
        }
        Input::PhaseDone { status, context, next } => {
            Input::PhaseDone { status, context: shortened(context), next }
        }
        Input::Finalized if doc.progress.succeeding() => return Err(wrong("end a build without results")),
        input @ (Input::Finalized | Input::TimedOut) => input,
        Input::Broke { message } => Input::Broke { message: reports::cut(&message, MAX_MESSAGE_BYTES) },
        Input::Fault { message } => Input::Fault { message: reports::cut(&message, MAX_MESSAGE_BYTES) },
        Input::Claimed | Input::Staged | Input::Lost | Input::Published { .. } | Input::Stop => {
            return Err(wrong("take this step"));
        }
    };
    let facts = match step.facts {
        Facts::SourceVersion(Some(version)) if version.len() > MAX_VERSION_BYTES => {
            return Err(wrong("have a source version that long"));
        }
        facts @ (Facts::Nothing | Facts::SourceVersion(_)) => facts,
        Facts::Left { .. } | Facts::Stored { .. } => return Err(wrong("state these facts")),
    };
    Ok(Step { input, facts })
}

/// Phases come in their order; some may be left out, none comes twice.
fn follows(doc: &BuildDoc, next: PhaseKind) -> bool {
    doc.progress.current().is_some_and(|current| current.kind.order() < next.order())
        && next != PhaseKind::Completed
}

fn shortened(context: Context) -> Context {
    Context::new(&reports::cut(&context.code, MAX_CODE_BYTES), context.message)
}
