//! One attempt at one build, from the claimed job to the finished document.
//!
//! Until everything is staged ([`Input::Staged`]) nothing leaves the attempt's folder and sandbox: a server
//! that dies before forgets the attempt; one that dies after goes on with [`finish`].

use super::commands::Commands;
use super::log::Log;
use super::provision::{Failure, Ready};
use super::publish::{Manifest, Published, publish, report_arn};
use super::{folder, remove_folder};
use crate::buildspec::{Buildspec, PhaseName};
use crate::sandbox::Sandbox;
use crate::state::{Context, Input, PhaseKind, Rejected, State, Status, after};
use crate::store::{BUILDS_QUEUE, BuildDoc};
use crate::{AdvanceError, CodeBuildService, view};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use towpath_api::Call;
use towpath_api::objects::PutOptions;
use towpath_durable::{Held, Retry};
use towpath_store::{StoreError, Txn};

const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why an attempt did not come to its end by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error("the job is someone else's, or the build is over")]
    Lost,
    #[error(transparent)]
    Store(StoreError),
    #[error("{0}")]
    Fault(String),
    #[error("the build's time is up")]
    TimedOut,
}

impl From<AdvanceError> for Stopped {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::Gone | AdvanceError::Rejected(Rejected::Finished) => Stopped::Lost,
            AdvanceError::Rejected(error) => Stopped::Fault(error.to_string()),
            AdvanceError::Store(error) if error.is_lease_lost() => Stopped::Lost,
            AdvanceError::Store(error) => Stopped::Store(error),
        }
    }
}

pub async fn work(service: Arc<CodeBuildService>, held: Held) -> Result<Txn, Retry> {
    let key = held.key.clone();
    let mut attempt = Attempt { service, held, sandbox: None, log: None };
    let doc = match attempt.advance(|_| Input::Claimed).await {
        Ok(doc) => doc,
        Err(Stopped::Lost) => return Ok(Txn::new()),
        Err(error) => return Err(Retry::new(error.to_string())),
    };
    let folder = match doc.progress.state {
        State::Running { attempt: number } | State::Publishing { attempt: number } => {
            Some(folder(&attempt.service, &doc, number))
        }
        State::Queued | State::Finished { .. } => None,
    };
    let ended = match doc.progress.state {
        State::Running { attempt: number } => attempt.run(doc, number).await,
        State::Publishing { attempt: number } => attempt.resume(doc, number).await,
        State::Queued | State::Finished { .. } => Ok(()),
    };
    if let Some(sandbox) = attempt.sandbox.take() {
        sandbox.destroy().await;
    }
    if let Some(log) = &attempt.log {
        log.close().await;
    }
    let service = attempt.service.clone();
    // First, for where the disk is full the last word may need the folder's room.
    tidy(&service, &key, folder.as_deref()).await?;
    let concluded = attempt.conclude(ended).await;
    tidy(&service, &key, folder.as_deref()).await?;
    concluded
}

/// Removes an attempt's folder, unless the build goes on with what is staged in it.
async fn tidy(service: &CodeBuildService, key: &str, folder: Option<&Path>) -> Result<(), StoreError> {
    let doc = service.store.get::<BuildDoc>(key).await?;
    let staged = doc.is_some_and(|doc| matches!(doc.progress.state, State::Publishing { .. }));
    if let Some(folder) = folder.filter(|_| !staged) {
        remove_folder(folder).await;
    }
    Ok(())
}

pub(super) struct Attempt {
    pub(super) service: Arc<CodeBuildService>,
    held: Held,
    pub(super) sandbox: Option<Arc<dyn Sandbox>>,
    pub(super) log: Option<Log>,
}

impl Attempt {
    /// A step of the state machine, while the lease is held.
    async fn advance(&self, input: impl FnMut(&mut BuildDoc) -> Input) -> Result<BuildDoc, Stopped> {
        let guard = |_: &BuildDoc, txn: &mut Txn| {
            txn.guard(self.held.lease());
        };
        Ok(self.service.advance(&self.held.key, input, guard).await?)
    }

    /// The last word on the build where the attempt could not say it.
    async fn conclude(self, ended: Result<(), Stopped>) -> Result<Txn, Retry> {
        let input = match ended {
            Ok(()) | Err(Stopped::Lost) if !self.held.is_cancelled() => return Ok(Txn::new()),
            // The build was stopped, or the server stops and the job runs again after its start.
            Ok(()) | Err(Stopped::Lost) => return Err(Retry::after(0, "the build was interrupted")),
            // The build itself may have filled the disk: to run it again would fill it again.
            Err(Stopped::Store(error @ StoreError::Storage(_))) => {
                Input::Fault { message: error.to_string() }
            }
            Err(Stopped::Store(error)) => return Err(error.into()),
            Err(Stopped::TimedOut) => Input::TimedOut,
            Err(Stopped::Fault(message)) => Input::Fault { message },
        };
        match self.advance(|_| input.clone()).await {
            Ok(_) | Err(Stopped::Lost) => Ok(Txn::new()),
            Err(error) => Err(Retry::new(error.to_string())),
        }
    }

    async fn run(&mut self, doc: BuildDoc, number: u32) -> Result<(), Stopped> {
        let folder = folder(&self.service, &doc, number);
        remove_folder(&folder).await;
        let minutes = doc.project.timeout_in_minutes.unwrap_or(60).max(1) as u64;
        let held = self.held.clone();
        let elsewhere = Self::ended_elsewhere(self.service.clone(), held.key.clone());
        let staged = tokio::select! {
            staged = self.build(doc, folder.clone()) => staged,
            () = held.cancelled() => Err(Stopped::Lost),
            () = elsewhere => Err(Stopped::Lost),
            () = tokio::time::sleep(Duration::from_secs(minutes * 60)) => {
                if let Some(log) = &self.log {
                    log.say("Build has timed out. ").await;
                }
                Err(Stopped::TimedOut)
            }
        };
        match staged {
            Ok(Some((doc, call))) => tokio::select! {
                ended = self.finish(doc, call, folder.clone()) => ended,
                () = held.cancelled() => Err(Stopped::Lost),
            },
            Ok(None) => Ok(()),
            Err(stopped) => Err(stopped),
        }
    }

    /// Returns when the build is over without this attempt's doing: it was stopped.
    async fn ended_elsewhere(service: Arc<CodeBuildService>, key: String) {
        let mut changed = service.store.queue_changed(BUILDS_QUEUE);
        loop {
            match service.store.get::<BuildDoc>(&key).await {
                Ok(Some(doc)) if doc.progress.status().is_none() => {}
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "cannot see whether a build was stopped"),
            }
            // The signal is this process's own; a server elsewhere is noticed by and by.
            let _ = tokio::time::timeout(LOOK_AGAIN, changed.changed()).await;
        }
    }

    /// Goes on with what an earlier server staged.
    async fn resume(&mut self, doc: BuildDoc, number: u32) -> Result<(), Stopped> {
        let folder = folder(&self.service, &doc, number);
        let call = self.role(&doc).await.map_err(|error| Stopped::Fault(error.to_string()))?;
        let log = Log::open(&self.service, &call, &doc, Vec::new(), None).await;
        self.log = Some(log.map_err(|error| Stopped::Fault(error.to_string()))?);
        self.finish(doc, call, folder).await
    }

    /// Everything until it is staged; `None` when the build ended before that.
    async fn build(&mut self, doc: BuildDoc, folder: PathBuf) -> Result<Option<(BuildDoc, Call)>, Stopped> {
        let ready = match self.provision(&doc, &folder).await {
            Ok(ready) => ready,
            Err(failure) => return self.give_up(failure).await.map(|()| None),
        };
        let doc = self.done(Status::Succeeded, Context::default(), PhaseKind::DownloadSource).await?;
        let (mut doc, mut commands) = match self.begin(doc, &ready, &folder).await? {
            Ok(begun) => begun,
            Err(failure) => {
                log_end(&ready.log, "DOWNLOAD_SOURCE", failure.status, &failure.context).await;
                return self.give_up(failure).await.map(|()| None);
            }
        };
        while let Some(PhaseKind::Commands(name)) = doc.progress.current().map(|phase| phase.kind) {
            let succeeding = doc.progress.succeeding();
            let (status, context) = commands.phase(name, succeeding).await.map_err(Stopped::Fault)?;
            let on_failure = commands.spec.phase(name).and_then(|phase| phase.on_failure.as_ref());
            let next = after(name, status == Status::Succeeded, on_failure);
            doc = self.done(status, context, next).await?;
        }
        let staging = commands.results(&doc).await.map_err(Stopped::Fault)?;
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.destroy().await;
        }
        let stage = folder.join("stage");
        let manifest = super::staging::stage(&doc, staging, &ready.plans, stage, &ready.log).await;
        let manifest =
            manifest.map_err(|error| Stopped::Fault(format!("cannot stage artifacts: {error}")))?;
        manifest
            .write(&folder)
            .map_err(|error| Stopped::Fault(format!("cannot stage artifacts: {error}")))?;
        let doc = self
            .advance(|doc| {
                doc.exported = manifest.exported.clone();
                doc.artifacts = manifest.artifacts.clone();
                doc.secondary_artifacts = manifest.secondary.clone();
                Input::Staged
            })
            .await?;
        Ok(Some((doc, ready.call)))
    }

    /// DOWNLOAD_SOURCE, up to the first command. The inner error fails the phase.
    async fn begin(
        &self,
        doc: BuildDoc,
        ready: &Ready,
        folder: &Path,
    ) -> Result<Result<(BuildDoc, Commands), Failure>, Stopped> {
        let (spec, doc): (Buildspec, BuildDoc) = match self.download(doc, ready, folder).await? {
            Ok(read) => read,
            Err(failure) => return Ok(Err(failure)),
        };
        let prepared = match self.prepare(&doc, &spec, ready, folder).await {
            Ok(prepared) => prepared,
            Err(failure) => return Ok(Err(failure)),
        };
        log_end(&ready.log, "DOWNLOAD_SOURCE", Status::Succeeded, &Context::default()).await;
        let first = PhaseKind::Commands(PhaseName::Install);
        let resolved = doc.resolved_source_version;
        let doc = self.advance(|doc| {
            doc.resolved_source_version = resolved.clone();
            done_input(Status::Succeeded, Context::default(), first)
        });
        Ok(Ok((doc.await?, Commands::new(prepared, spec, ready.log.clone()))))
    }

    async fn done(&self, status: Status, context: Context, next: PhaseKind) -> Result<BuildDoc, Stopped> {
        self.advance(|_| done_input(status, context.clone(), next)).await
    }

    /// Ends the build in the phase that it is in.
    async fn give_up(&self, failure: Failure) -> Result<(), Stopped> {
        self.done(failure.status, failure.context, PhaseKind::Finalizing).await?;
        self.advance(|_| Input::Finalized).await.map(drop)
    }

    /// From `Publishing` to `Finished`.
    async fn finish(&self, doc: BuildDoc, call: Call, folder: PathBuf) -> Result<(), Stopped> {
        let Some(log) = &self.log else { return Err(Stopped::Fault("a build without a log".to_owned())) };
        let at_upload = doc.progress.current().is_some_and(|phase| phase.kind == PhaseKind::UploadArtifacts);
        if at_upload {
            let manifest = Manifest::read(&folder);
            let manifest =
                manifest.map_err(|error| Stopped::Fault(format!("the staged artifacts: {error}")))?;
            let Published { status, context, uploaded } =
                publish(&self.service, &call, &doc, &manifest, log).await.map_err(Stopped::Store)?;
            log_end(log, "UPLOAD_ARTIFACTS", status, &context).await;
            let reports: Vec<_> = manifest.reports.iter().map(|report| report_arn(&doc, report)).collect();
            self.advance(|doc| {
                doc.report_arns = reports.clone();
                if !uploaded {
                    doc.artifacts = None;
                    doc.secondary_artifacts.clear();
                }
                Input::Published { status, context: context.clone() }
            })
            .await?;
        }
        log.close().await;
        let archive = folder.join("log.gz");
        if let Some((bucket, key)) = view::log_object(&doc).filter(|_| archive.exists()) {
            let stored =
                self.service.objects.put_file(&call, &bucket, &key, &archive, PutOptions::default()).await;
            if let Err(error) = stored {
                log.say(format!("The log could not be stored at s3://{bucket}/{key}: {error}")).await;
                log.close().await;
            }
        }
        self.advance(|_| Input::Finalized).await.map(drop)
    }
}

fn done_input(status: Status, context: Context, next: PhaseKind) -> Input {
    Input::PhaseDone { status, context, next }
}

pub(super) async fn log_end(log: &Log, phase: &str, status: Status, context: &Context) {
    log.say(format!("Phase complete: {phase} State: {status}")).await;
    log.say(format!("Phase context status code: {} Message: {}", context.code, context.message)).await;
}
