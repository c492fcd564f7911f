//! One attempt at one build, from the first phase to what its commands left, on whichever machine runs it.
//!
//! Until everything is staged nothing leaves the attempt's folder and sandbox: a machine that dies before
//! forgets the attempt. What is staged is handed over by [`Assignment::deliver`].

use super::assignment::{Assignment, Facts, Step, Stopped};
use super::commands::{Broken, Commands};
use super::log::Log;
use super::machine::Machine;
use super::provision::{Failure, Ready};
use super::publish::Manifest;
use super::remove_folder;
use crate::buildspec::{Buildspec, PhaseName};
use crate::sandbox::Sandbox;
use crate::state::{Context, Input, PhaseKind, Status, after};
use crate::store::BuildDoc;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Attempt {
    pub(super) machine: Arc<Machine>,
    pub(super) assignment: Arc<dyn Assignment>,
    pub(super) sandbox: Option<Arc<dyn Sandbox>>,
    pub(super) log: Option<Log>,
}

impl Attempt {
    /// Runs a claimed build in `folder`, which is the attempt's own. Nothing runs any more when it returns.
    pub(crate) async fn begin(
        machine: Arc<Machine>,
        assignment: Arc<dyn Assignment>,
        doc: BuildDoc,
        folder: &Path,
    ) -> Result<(), Stopped> {
        let mut attempt = Attempt { machine, assignment, sandbox: None, log: None };
        let ended = attempt.run(doc, folder).await;
        if let Some(sandbox) = attempt.sandbox.take() {
            sandbox.destroy().await;
        }
        if let Some(log) = &attempt.log {
            if let Err(Stopped::Broken(message)) = &ended {
                log.say(format!("The attempt was interrupted: {message}")).await;
            }
            log.flush().await;
        }
        ended
    }

    async fn run(&mut self, doc: BuildDoc, folder: &Path) -> Result<(), Stopped> {
        remove_folder(folder).await;
        let minutes = doc.project.timeout_in_minutes.unwrap_or(60).max(1) as u64;
        let assignment = self.assignment.clone();
        let staged = tokio::select! {
            staged = self.build(doc, folder) => staged?,
            () = assignment.over() => return Err(Stopped::Lost),
            () = tokio::time::sleep(Duration::from_secs(minutes * 60)) => {
                if let Some(log) = &self.log {
                    log.say("Build has timed out. ").await;
                }
                return Err(Stopped::TimedOut);
            }
        };
        match (staged, &self.log) {
            (Some(manifest), Some(log)) => {
                // Whoever stores it may be another process, and has only what is in the log by then.
                log.flush().await;
                assignment.deliver(&manifest, folder, log).await
            }
            (Some(_), None) => Err(Stopped::Fault("a build without a log".to_owned())),
            (None, _) => Ok(()),
        }
    }

    /// Everything until it is staged; `None` when the build ended before that.
    async fn build(&mut self, doc: BuildDoc, folder: &Path) -> Result<Option<Manifest>, Stopped> {
        let ready = match self.provision(&doc, folder).await {
            Ok(ready) => ready,
            Err(failure) => return self.give_up(failure).await.map(|()| None),
        };
        let doc = self.done(Status::Succeeded, Context::default(), PhaseKind::DownloadSource).await?;
        let (mut doc, mut commands) = match self.begin_commands(doc, &ready, folder).await? {
            Ok(begun) => begun,
            Err(failure) => {
                if let Failure::Phase { status, context } = &failure {
                    ready.log.end_of("DOWNLOAD_SOURCE", *status, context).await;
                }
                return self.give_up(failure).await.map(|()| None);
            }
        };
        while let Some(PhaseKind::Commands(name)) = doc.progress.current().map(|phase| phase.kind) {
            let succeeding = doc.progress.succeeding();
            let (status, context) = match commands.phase(name, succeeding).await {
                Ok(ended) => ended,
                Err(broken) => return self.break_off(broken, &name.to_string(), &ready.log).await,
            };
            let on_failure = commands.spec.phase(name).and_then(|phase| phase.on_failure.as_ref());
            let next = after(name, status == Status::Succeeded, on_failure);
            doc = self.done(status, context, next).await?;
        }
        let staging = match commands.results().await {
            Ok(results) => results,
            Err(broken) => return self.break_off(broken, "UPLOAD_ARTIFACTS", &ready.log).await,
        };
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.destroy().await;
        }
        let staging_to = (folder, self.machine.bounds.disk_bytes);
        let manifest = super::staging::stage(&doc, staging, &ready.plans, staging_to, &ready.log).await;
        let unstaged = |error: std::io::Error| Stopped::Broken(format!("cannot stage artifacts: {error}"));
        let manifest = manifest.map_err(unstaged)?;
        manifest.write(folder).map_err(unstaged)?;
        Ok(Some(manifest))
    }

    /// DOWNLOAD_SOURCE, up to the first command. The inner error fails the phase.
    async fn begin_commands(
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
        ready.log.end_of("DOWNLOAD_SOURCE", Status::Succeeded, &Context::default()).await;
        let first = PhaseKind::Commands(PhaseName::Install);
        let mut step = Step::phase_done(Status::Succeeded, Context::default(), first);
        step.facts = Facts::SourceVersion(doc.resolved_source_version);
        let doc = self.assignment.step(step).await?;
        Ok(Ok((doc, Commands::new(prepared, spec, ready.log.clone()))))
    }

    /// The sandbox is gone: by our own failure, or because the build filled its share of the disk. That is
    /// the build's own doing, and it fails in the phase in which it did.
    async fn break_off<T>(&self, broken: Broken, phase: &str, log: &Log) -> Result<Option<T>, Stopped> {
        let reason = match broken {
            Broken::Fault(reason) => return Err(Stopped::Broken(reason)),
            Broken::OverDisk(reason) => reason,
        };
        let message = format!(
            "The build wrote more to disk than build-disk-bytes allows, and everything in it was ended: {reason}"
        );
        let context = Context::new("DISK_QUOTA_EXCEEDED", message);
        log.end_of(phase, Status::Failed, &context).await;
        self.give_up(Failure::Phase { status: Status::Failed, context }).await.map(|()| None)
    }

    async fn done(&self, status: Status, context: Context, next: PhaseKind) -> Result<BuildDoc, Stopped> {
        self.assignment.step(Step::phase_done(status, context, next)).await
    }

    /// Ends the build in the phase that it is in.
    async fn give_up(&self, failure: Failure) -> Result<(), Stopped> {
        let (status, context) = match failure {
            Failure::Phase { status, context } => (status, context),
            Failure::Broken(message) => return Err(Stopped::Broken(message)),
        };
        self.done(status, context, PhaseKind::Finalizing).await?;
        self.assignment.step(Step::plain(Input::Finalized)).await.map(drop)
    }
}
