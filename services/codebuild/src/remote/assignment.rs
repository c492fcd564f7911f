//! A build that a worker holds, over HTTP.
//!
//! **Owns** the hold: it renews the lease, knows by the machine's monotonic clock when the lease is over, and
//! tells the attempt. Requests that fail in passing are sent again for as long as the hold lasts.

use super::client::{CallError, Client};
use super::protocol::*;
use super::transfer::pack;
use crate::state::Input;
use crate::store::BuildDoc;
use crate::work::assignment::{Assignment, Denied, LogSink, Opened, Step, Stopped};
use crate::work::log::{ARCHIVE, Log};
use crate::work::publish::Manifest;
use crate::work::source::{BuildspecFailure, SourceError, SourcePlan};
use crate::work::staging::STAGE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use towpath_api::{ApiError, Clock, SystemClock, Timestamp, async_trait};
use towpath_api_logs::InputLogEvent;
use towpath_archive::{Kind, Limits, Root};
use towpath_durable::Shutdown;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How often a request is sent again that the server answers with a failure of its own.
const MAX_FAULTS: u32 = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A worker gives up before its server does: what is sent in this time may still arrive late.
const MARGIN: Duration = Duration::from_secs(2);

/// Clones are the same hold.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    hold: Hold,
    /// Steps that the server answered. Locked for the whole of a step: they go one by one.
    steps: Arc<tokio::sync::Mutex<u64>>,
    until: Arc<Mutex<Instant>>,
    lost: Shutdown,
}

impl Remote {
    /// `asked_at`: when the claim was sent, for the lease may be that old.
    pub fn new(client: Client, hold: Hold, lease_ms: i64, asked_at: Instant) -> Remote {
        let until = Arc::new(Mutex::new(asked_at + Duration::from_millis(lease_ms.max(0) as u64)));
        Remote { client, hold, steps: Arc::default(), until, lost: Shutdown::new() }
    }

    /// Gives the hold up, as if it were lost.
    pub fn let_go(&self) {
        self.lost.trigger();
    }

    /// Renews the lease until it is lost.
    pub async fn keep(self) {
        let mut failures = 0;
        while !self.lost.is_shutdown() {
            let asked_at = Instant::now();
            let asked = self.client.call::<_, KeepAnswer>("keep", &self.hold);
            match asked.await {
                Ok(KeepAnswer { lease_ms }) => {
                    failures = 0;
                    let until = asked_at + Duration::from_millis(lease_ms.max(0) as u64);
                    *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
                    // A server that stops answers at once.
                    self.lost.sleep(FIRST_PAUSE).await;
                }
                Err(error) if error.is_loss() => return self.lost.trigger(),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(build = self.hold.build, %error, "cannot renew the hold on a build");
                    self.lost.sleep(pause_after(failures)).await;
                }
            }
        }
    }

    /// Ends the hold when the lease is over, whatever the requests to renew it are doing. A process that was
    /// frozen comes here first: this clock went on.
    pub async fn watch(self) {
        while !self.lost.is_shutdown() {
            let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner) - MARGIN;
            if until <= Instant::now() {
                tracing::warn!(build = self.hold.build, "the hold on a build was not renewed in time");
                return self.lost.trigger();
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.lost.wait() => {}
            }
        }
    }

    /// Tells the server that this worker is done with the build. Where it cannot, the lease ends by itself.
    pub async fn release(&self) {
        if let Err(error) = self.client.call::<_, Empty>("release", &self.hold).await {
            tracing::debug!(build = self.hold.build, %error, "a build was not given back");
        }
    }

    /// The last word on the build where the attempt could not say it.
    pub async fn conclude(&self, ended: Result<(), Stopped>) {
        let broke = matches!(ended, Err(Stopped::Broken(_)));
        let input = match ended {
            Ok(()) => return,
            Err(Stopped::Broken(message)) => Input::Broke { message },
            Err(Stopped::Lost | Stopped::Store(_)) => return self.release().await,
            Err(Stopped::TimedOut) => Input::TimedOut,
            Err(Stopped::Fault(message)) => Input::Fault { message },
        };
        match self.step(Step::plain(input)).await {
            Ok(_) if broke => self.release().await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(build = self.hold.build, %error, "the end of a build could not be told");
                self.release().await;
            }
        }
    }

    /// Asks until there is an answer, or the hold is lost.
    async fn insist<O, F>(&self, ask: impl Fn() -> F) -> Result<O, CallError>
    where
        F: Future<Output = Result<O, CallError>>,
    {
        let (mut failures, mut faults) = (0, 0);
        loop {
            let answer = tokio::select! {
                answer = ask() => answer,
                () = self.lost.wait() => Err(gone()),
            };
            match answer {
                Err(error) if error.is_passing() && faults < MAX_FAULTS => {
                    failures += 1;
                    faults += u32::from(matches!(error, CallError::Refused { .. }));
                    tracing::debug!(build = self.hold.build, %error, failures, "asking the server again");
                    if !self.lost.sleep(pause_after(failures)).await {
                        return Err(gone());
                    }
                }
                Err(error) if error.is_loss() => {
                    self.lost.trigger();
                    return Err(error);
                }
                other => return other,
            }
        }
    }

    async fn ask<I, O>(&self, name: &'static str, input: &I) -> Result<O, CallError>
    where
        I: Serialize,
        O: DeserializeOwned + Send + 'static,
    {
        self.insist(|| self.client.call::<I, O>(name, input)).await
    }
}

fn gone() -> CallError {
    let message = "the hold on the build is lost".to_owned();
    CallError::Refused { status: 409, code: "BuildNotHeldException".to_owned(), message }
}

fn pause_after(failures: u32) -> Duration {
    LONGEST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(failures.min(10)))
}

fn stopped(error: CallError) -> Stopped {
    if error.is_loss() { Stopped::Lost } else { Stopped::Fault(error.to_string()) }
}

fn api_error(error: CallError) -> ApiError {
    match error {
        CallError::Refused { status, code, message } => ApiError::client(code, message).with_status(status),
        other => ApiError::client("InternalFailure", other.to_string()).with_status(500),
    }
}

#[async_trait]
impl Assignment for Remote {
    async fn step(&self, step: Step) -> Result<BuildDoc, Stopped> {
        let mut steps = self.steps.lock().await;
        let number = *steps + 1;
        let request = StepRequest { hold: self.hold.clone(), number, step };
        let answer: DocAnswer = self.ask("step", &request).await.map_err(stopped)?;
        *steps = number;
        Ok(answer.doc)
    }

    async fn over(&self) {
        self.lost.wait().await;
    }

    async fn open(&self, _: &BuildDoc) -> Result<Opened, Denied> {
        let failed = |error: CallError| Denied { what: "begin".to_owned(), error: api_error(error) };
        let opening: Opening = self.ask("open", &self.hold).await.map_err(failed)?;
        if let Some(DeniedBody { what, code, message, status }) = opening.denied {
            return Err(Denied { what, error: ApiError::client(code, message).with_status(status) });
        }
        let credentials = opening.credentials.map(Into::into);
        Ok(Opened { credentials, log: Arc::new(self.clone()) })
    }

    async fn fetch(
        &self,
        (index, plan): (usize, &SourcePlan),
        scratch: &Path,
    ) -> Result<Option<String>, SourceError> {
        let archive = scratch.join(format!("source-{index}.tar"));
        let request = SourceRequest { hold: self.hold.clone(), index };
        let commit =
            self.insist(|| self.client.download("source", &request, &archive)).await.map_err(|error| {
                match error {
                    CallError::Refused { code, message, .. } if code == "SourceException" => {
                        SourceError::Told(message)
                    }
                    error => SourceError::Api(api_error(error)),
                }
            })?;
        let target = plan.host.clone();
        let unpacked = tokio::task::spawn_blocking(move || unpack(&archive, &target)).await;
        unpacked.map_err(|_| io::Error::other("unpacking was interrupted"))??;
        Ok(commit)
    }

    async fn buildspec_object(&self, _: &BuildDoc) -> Result<Vec<u8>, BuildspecFailure> {
        let answer: TextAnswer = self.ask("buildspec", &self.hold).await.map_err(api_error)?;
        Ok(answer.text.into_bytes())
    }

    async fn deliver(&self, _: &Manifest, folder: &Path, log: &Log) -> Result<(), Stopped> {
        log.flush().await;
        let archive = folder.join("results.tar");
        let (from, to) = (folder.to_owned(), archive.clone());
        let packed = tokio::task::spawn_blocking(move || pack_results(&from, &to)).await;
        let packed = packed.map_err(io::Error::other).flatten();
        packed.map_err(|error| Stopped::Fault(format!("cannot pack the results: {error}")))?;
        let mut steps = self.steps.lock().await;
        let delivery = Delivery { hold: self.hold.clone(), number: *steps + 1 };
        let sent = self.insist(|| self.client.upload::<DocAnswer>("results", &delivery, archive.clone()));
        sent.await.map_err(stopped)?;
        *steps += 1;
        Ok(())
    }
}

#[async_trait]
impl LogSink for Remote {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn write(&self, number: u64, events: Vec<InputLogEvent>) -> Result<(), ApiError> {
        let request = LogRequest { hold: self.hold.clone(), number: Some(number), events };
        self.ask::<_, Empty>("log", &request).await.map(drop).map_err(api_error)
    }
}

/// What the server sent: its own packing, so no bound is needed but on where it leads.
fn unpack(archive: &Path, target: &Path) -> Result<(), SourceError> {
    let limits = Limits {
        max_entries: usize::MAX,
        max_bytes: u64::MAX,
        max_ratio: u64::MAX,
        max_path_bytes: 4095,
        max_depth: 2048,
    };
    let root = Root::open(target)?.with_links_anywhere();
    towpath_archive::unpack(File::open(archive)?, Some(Kind::Tar), &root, &limits)?;
    std::fs::remove_file(archive)?;
    Ok(())
}

/// The manifest, the log and what is staged, in one tar.
fn pack_results(folder: &Path, archive: &Path) -> io::Result<()> {
    let whole: PathBuf = folder.join("results");
    std::fs::create_dir_all(&whole)?;
    for name in [Manifest::FILE, ARCHIVE, STAGE] {
        match std::fs::rename(folder.join(name), whole.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    pack(&whole, File::create(archive)?)
}
