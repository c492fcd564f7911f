//! One attempt at one build, from the claimed job to the finished document.
//!
//! Until everything is staged ([`Input::Staged`]) nothing leaves the attempt's folder and sandbox: a server
//! that dies before forgets the attempt; one that dies after goes on with [`finish`].

use super::commands::{Commands, Prepared};
use super::environment::{self, Access};
use super::log::Log;
use super::publish::{Manifest, Published, publish, report_arn};
use super::source::{self, BuildspecFailure, SourcePlan};
use super::{folder, remove_folder, runtimes};
use crate::buildspec::{self, Buildspec, PhaseName};
use crate::sandbox::Sandbox;
use crate::state::{Context, Input, PhaseKind, Rejected, State, Status, after};
use crate::store::{BUILDS_QUEUE, BuildDoc};
use crate::{AdvanceError, CodeBuildService, SERVICE, validate, view};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use towpath_api::objects::PutOptions;
use towpath_api::{ApiError, Call, SessionCredentials};
use towpath_durable::{Held, Retry};
use towpath_runner::{Bind, Limits, Network, Relay, Spec};
use towpath_store::{StoreError, Txn};

/// STS's longest session.
const MAX_SESSION_SECONDS: i64 = 12 * 3600;
/// Beyond the build's own timeout, which ends it first.
const SANDBOX_MARGIN_MS: u64 = 60_000;
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why an attempt did not come to its end by itself.
#[derive(Debug, thiserror::Error)]
enum Stopped {
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
    let concluded = attempt.conclude(ended).await;
    // What is staged is wanted until it is stored.
    let over = service.store.get::<BuildDoc>(&key).await?.is_none_or(|doc| doc.progress.status().is_some());
    if let Some(folder) = folder.filter(|_| over) {
        remove_folder(&folder).await;
    }
    concluded
}

struct Attempt {
    service: Arc<CodeBuildService>,
    held: Held,
    sandbox: Option<Arc<dyn Sandbox>>,
    log: Option<Log>,
}

/// A phase that failed before or between commands.
struct Failure {
    status: Status,
    context: Context,
}

impl Failure {
    fn client(message: impl Into<String>) -> Failure {
        Failure { status: Status::Failed, context: Context::new("CLIENT_ERROR", message) }
    }

    fn fault(message: impl Into<String>) -> Failure {
        Failure { status: Status::Fault, context: Context::new("INTERNAL_ERROR", message) }
    }
}

/// What PROVISIONING made.
struct Ready {
    call: Call,
    log: Log,
    sandbox: Arc<dyn Sandbox>,
    credentials: Option<SessionCredentials>,
    plans: Vec<SourcePlan>,
    base: PathBuf,
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
        let ended = match staged {
            Ok(Some((doc, call))) => tokio::select! {
                ended = self.finish(doc, call, folder.clone()) => ended,
                () = held.cancelled() => Err(Stopped::Lost),
            },
            Ok(None) => Ok(()),
            Err(stopped) => Err(stopped),
        };
        ended
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

    async fn role(&self, doc: &BuildDoc) -> Result<Call, ApiError> {
        let role = doc.project.service_role.as_deref().unwrap_or_default();
        self.service.identity.service_call(SERVICE, role, &session_name(doc)).await
    }

    /// Everything until it is staged; `None` when the build ended before that.
    async fn build(&mut self, doc: BuildDoc, folder: PathBuf) -> Result<Option<(BuildDoc, Call)>, Stopped> {
        let ready = match self.provision(&doc, &folder).await {
            Ok(ready) => ready,
            Err(failure) => return self.give_up(failure).await.map(|()| None),
        };
        let doc = self.done(Status::Succeeded, Context::default(), PhaseKind::DownloadSource).await?;
        let (spec, mut doc) = match self.download(doc, &ready, &folder).await? {
            Ok(read) => read,
            Err(failure) => {
                log_end(&ready.log, "DOWNLOAD_SOURCE", failure.status, &failure.context).await;
                return self.give_up(failure).await.map(|()| None);
            }
        };
        let prepared = self.prepare(&doc, &spec, &ready, &folder).await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                log_end(&ready.log, "DOWNLOAD_SOURCE", failure.status, &failure.context).await;
                return self.give_up(failure).await.map(|()| None);
            }
        };
        log_end(&ready.log, "DOWNLOAD_SOURCE", Status::Succeeded, &Context::default()).await;
        doc = {
            let first = PhaseKind::Commands(PhaseName::Install);
            let resolved = doc.resolved_source_version.clone();
            self.advance(move |doc| {
                doc.resolved_source_version = resolved.clone();
                done_input(Status::Succeeded, Context::default(), first)
            })
            .await?
        };
        let mut commands = Commands::new(prepared, spec, ready.log.clone());
        loop {
            let Some(PhaseKind::Commands(name)) = doc.progress.current().map(|phase| phase.kind) else {
                break;
            };
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

    async fn done(&self, status: Status, context: Context, next: PhaseKind) -> Result<BuildDoc, Stopped> {
        self.advance(|_| done_input(status, context.clone(), next)).await
    }

    /// Ends the build in the phase that it is in.
    async fn give_up(&self, failure: Failure) -> Result<(), Stopped> {
        self.done(failure.status, failure.context, PhaseKind::Finalizing).await?;
        self.advance(|_| Input::Finalized).await.map(drop)
    }

    async fn provision(&mut self, doc: &BuildDoc, folder: &PathBuf) -> Result<Ready, Failure> {
        let role = doc.project.service_role.as_deref().unwrap_or_default();
        let denied = |what: &str, error: &ApiError| Failure {
            status: if error.status < 500 { Status::Failed } else { Status::Fault },
            context: Context::new(
                if error.status < 500 { "ACCESS_DENIED" } else { "INTERNAL_ERROR" },
                format!(
                    "Service role {role} does not allow AWS CodeBuild to {what} for build {}. Error message: {}",
                    doc.arn(),
                    error.message
                ),
            ),
        };
        let call = self.role(doc).await.map_err(|error| denied("assume it", &error))?;
        let credentials = match self.service.config.endpoint {
            None => None,
            Some(_) => {
                let minutes = doc.project.timeout_in_minutes.unwrap_or(60);
                let seconds = (minutes * 60 + 900).clamp(900, MAX_SESSION_SECONDS) as u32;
                let identity = &self.service.identity;
                let made = identity.service_credentials(SERVICE, role, &session_name(doc), seconds).await;
                Some(made.map_err(|error| denied("make credentials", &error))?)
            }
        };
        let scratch = |error: std::io::Error| Failure::fault(format!("the build's folder: {error}"));
        std::fs::create_dir_all(folder).map_err(scratch)?;
        let secrets = credentials.iter().flat_map(|credentials| {
            [credentials.secret_access_key.clone(), credentials.session_token.clone()]
        });
        let archive = folder.join("log.gz");
        let log = Log::open(&self.service, &call, doc, secrets.collect(), Some(&archive)).await;
        let log = log.map_err(|error| denied("create Amazon CloudWatch Logs log streams", &error))?;
        self.log = Some(log.clone());
        log.say("Running on Towpath, in a sandbox of the host").await;
        if let State::Running { attempt: attempt @ 2.. } = doc.progress.state {
            log.say(format!(
                "The server ended while this build ran; it runs again from the start (attempt {attempt})"
            ))
            .await;
        }
        let id = format!("build-{}-{}", doc.uuid(), folder_suffix(folder));
        let base = self.service.sandboxes.base(&id);
        let plans = source::plan(doc, folder, &base);
        for plan in &plans {
            std::fs::create_dir_all(&plan.host).map_err(scratch)?;
        }
        let driver = folder.join("shell");
        std::fs::create_dir_all(&driver).map_err(scratch)?;
        open_to_all(&driver).map_err(scratch)?;
        let mut spec = self.sandbox_spec(doc, &id);
        spec.binds = plans.iter().map(|plan| Bind::writable(&plan.host, &plan.inside)).collect();
        spec.binds.push(Bind::writable(&driver, base.join("shell")));
        let sandbox = self.service.sandboxes.start(spec).await;
        let sandbox =
            sandbox.map_err(|error| Failure::fault(format!("cannot start the sandbox: {error}")))?;
        self.sandbox = Some(sandbox.clone());
        for weakness in sandbox.weaknesses() {
            log.say(format!("Note: {weakness}")).await;
        }
        Ok(Ready { call, log, sandbox, credentials, plans, base })
    }

    fn sandbox_spec(&self, doc: &BuildDoc, id: &str) -> Spec {
        let mut spec = Spec::new(id);
        let environment = doc.project.environment.as_ref();
        let compute = environment.and_then(|environment| environment.compute_type.as_deref());
        let limits = compute.and_then(validate::compute_limits);
        let minutes = doc.project.timeout_in_minutes.unwrap_or(60).max(1) as u64;
        spec.limits = Limits {
            memory_bytes: limits.map(|(bytes, _)| bytes),
            cpus: limits.map(|(_, cpus)| cpus),
            pids: None,
            wall_ms: Some(minutes * 60_000 + SANDBOX_MARGIN_MS),
        };
        spec.network = Network::Egress;
        spec.relays =
            self.endpoint().into_iter().map(|(inside, outside)| Relay { inside, outside }).collect();
        spec
    }

    /// Where the server is, inside and outside.
    fn endpoint(&self) -> Option<(SocketAddr, SocketAddr)> {
        let mut outside = self.service.config.endpoint?;
        if outside.ip().is_unspecified() {
            outside.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Some((SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), outside.port()), outside))
    }

    /// The sources and the buildspec. The outer error ends the attempt, the inner one fails the phase.
    async fn download(
        &self,
        mut doc: BuildDoc,
        ready: &Ready,
        folder: &PathBuf,
    ) -> Result<Result<(Buildspec, BuildDoc), Failure>, Stopped> {
        let log = &ready.log;
        log.say("Waiting for DOWNLOAD_SOURCE").await;
        doc.resolved_source_version =
            doc.pipeline.as_ref().and_then(|pipeline| pipeline.source_version.clone());
        for plan in &ready.plans {
            match source::download(&self.service, &ready.call, plan, folder).await {
                Ok(Some(commit)) if plan.identifier.is_none() => doc.resolved_source_version = Some(commit),
                Ok(_) => {}
                Err(error) => {
                    let which = match &plan.identifier {
                        None => "primary source".to_owned(),
                        Some(identifier) => format!("secondary source {identifier}"),
                    };
                    let version = plan.version.as_deref().unwrap_or("");
                    let at = if version.is_empty() {
                        String::new()
                    } else {
                        format!(" and source version {version}")
                    };
                    return Ok(Err(Failure::client(format!("{error} for {which}{at}"))));
                }
            }
        }
        let Some(primary) = ready.plans.first() else {
            return Err(Stopped::Fault("a build without sources".to_owned()));
        };
        log.say("Phase is DOWNLOAD_SOURCE").await;
        log.say(format!("CODEBUILD_SRC_DIR={}", primary.inside.display())).await;
        let read = source::buildspec_text(&self.service, &ready.call, &doc, &primary.host).await;
        let (text, place) = match read {
            Ok(read) => read,
            Err(BuildspecFailure::Api(error)) => {
                return Ok(Err(Failure::client(format!("cannot read the buildspec: {error}"))));
            }
            Err(error) => return Ok(Err(yaml_error(error.to_string()))),
        };
        match place.as_str() {
            "inline" => log.say("YAML location is inline").await,
            place if place.starts_with("arn:") => log.say(format!("YAML location is {place}")).await,
            place => log.say(format!("YAML location is {}", primary.inside.join(place).display())).await,
        }
        Ok(match buildspec::parse(&text) {
            Ok(spec) => Ok((spec, doc)),
            Err(error) => Err(yaml_error(error.to_string())),
        })
    }

    /// Variables, runtimes and the shell.
    async fn prepare(
        &self,
        doc: &BuildDoc,
        spec: &Buildspec,
        ready: &Ready,
        folder: &std::path::Path,
    ) -> Result<Prepared, Failure> {
        let log = &ready.log;
        log.say("Processing environment variables").await;
        let access = self.endpoint().zip(ready.credentials.as_ref());
        let access = access.map(|((endpoint, _), credentials)| Access { endpoint, credentials });
        let variables = environment::variables(doc, spec, &ready.plans, access.as_ref());
        let install = spec.phase(PhaseName::Install);
        if let Some(wanted) = install.map(|phase| &phase.runtime_versions).filter(|wanted| !wanted.is_empty())
        {
            for line in
                runtimes::check(ready.sandbox.as_ref(), wanted, &variables).await.map_err(yaml_error)?
            {
                log.say(line).await;
            }
        }
        let inside = ready.plans.first().map(|plan| plan.inside.clone()).unwrap_or_default();
        log.say(format!("Moving to directory {}", inside.display())).await;
        log.say(format!("Phases found in YAML: {}", spec.phases.len())).await;
        for phase in &spec.phases {
            log.say(format!(" {}: {} commands", phase.name, phase.commands.len())).await;
        }
        Prepared::new(
            ready.sandbox.clone(),
            (folder.join("shell"), ready.base.join("shell")),
            spec,
            &variables,
            (inside, log.clone()),
        )
        .await
        .map_err(|error| Failure::client(error.to_string()))
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

fn yaml_error(message: String) -> Failure {
    Failure { status: Status::Failed, context: Context::new("YAML_FILE_ERROR", message) }
}

fn session_name(doc: &BuildDoc) -> String {
    format!("AWSCodeBuild-{}", doc.uuid())
}

fn folder_suffix(folder: &std::path::Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit('-').next().unwrap_or("0").to_owned()
}

/// Commands of any user of the sandbox keep the shell's state there.
fn open_to_all(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))
}

pub(super) async fn log_end(log: &Log, phase: &str, status: Status, context: &Context) {
    log.say(format!("Phase complete: {phase} State: {status}")).await;
    log.say(format!("Phase context status code: {} Message: {}", context.code, context.message)).await;
}
