//! A build that runs on this server: its keeper is this very process.

use super::assignment::{Assignment, Denied, LogSink, Opened, Step, Stopped};
use super::log::{ARCHIVE, Log};
use super::publish::{Manifest, Published, publish, report_arn};
use super::source::{self, BuildspecFailure, SourceError, SourcePlan};
use super::{assignment::Facts, provision};
use crate::buildspec::MAX_BUILDSPEC_BYTES;
use crate::state::{Input, PhaseKind, State};
use crate::store::{BUILDS_QUEUE, BuildDoc};
use crate::{CodeBuildService, SERVICE, view};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use towpath_api::log_batches::LogBatch;
use towpath_api::objects::PutOptions;
use towpath_api::{ApiError, Call, SessionCredentials, Timestamp, async_trait, id};
use towpath_api_logs::{CreateLogGroupInput, CreateLogStreamInput, InputLogEvent};
use towpath_durable::Held;
use towpath_store::Txn;

const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// STS's longest session.
const MAX_SESSION_SECONDS: i64 = 12 * 3600;

pub(super) struct Local {
    service: Arc<CodeBuildService>,
    held: Held,
    /// The service role, once it was assumed.
    role: OnceLock<Call>,
}

impl Local {
    pub fn new(service: Arc<CodeBuildService>, held: Held) -> Local {
        Local { service, held, role: OnceLock::new() }
    }

    /// Takes the build's next attempt; what is staged already stays as it is.
    pub async fn claim(&self) -> Result<BuildDoc, Stopped> {
        let begin = |doc: &mut BuildDoc| {
            if !matches!(doc.progress.state, State::Publishing { .. }) {
                doc.holder = None;
            }
            Input::Claimed
        };
        let guard = |_: &BuildDoc, txn: &mut Txn| {
            txn.guard(self.held.lease());
        };
        Ok(self.service.advance(&self.held.key, begin, guard).await?)
    }

    /// Whether this process is told to stop, or lost the job.
    pub fn is_cancelled(&self) -> bool {
        self.held.is_cancelled()
    }

    fn call(&self) -> Result<&Call, ApiError> {
        self.role.get().ok_or_else(|| ApiError::internal("the build's role was not assumed yet"))
    }

    /// Goes on with what an earlier server, or a worker, staged.
    pub async fn resume(&self, doc: BuildDoc, folder: &Path) -> Result<(), Stopped> {
        let fault = |error: ApiError| match error.status {
            500.. => Stopped::Broken(error.to_string()),
            _ => Stopped::Fault(error.to_string()),
        };
        let call = self.service.role(&doc).await.map_err(fault)?;
        let call = self.role.get_or_init(|| call);
        let sink = self.service.open_log(call, &doc).await.map_err(fault)?;
        let log = Log::open(sink, Vec::new(), self.archive(&doc, folder));
        let ended = tokio::select! {
            ended = self.finish(doc, folder, &log) => ended,
            () = self.held.cancelled() => Err(Stopped::Lost),
        };
        log.flush().await;
        ended
    }

    /// A worker's log is complete up to here, and goes on. An earlier server's ends where that server did.
    fn archive(&self, doc: &BuildDoc, folder: &Path) -> Option<File> {
        doc.holder.as_ref()?;
        File::options().append(true).open(folder.join(ARCHIVE)).ok()
    }

    /// From `Publishing` to `Finished`.
    async fn finish(&self, doc: BuildDoc, folder: &Path, log: &Log) -> Result<(), Stopped> {
        let call = self.call().map_err(|error| Stopped::Fault(error.to_string()))?;
        let objects = self.service.objects_of(self.held.lease());
        let at_upload = doc.progress.current().is_some_and(|phase| phase.kind == PhaseKind::UploadArtifacts);
        if at_upload {
            let manifest = Manifest::read(folder);
            let manifest =
                manifest.map_err(|error| Stopped::Fault(format!("the staged artifacts: {error}")))?;
            let published = publish((&self.service, &*objects), call, &doc, (&manifest, folder), log).await;
            let Published { status, context, uploaded } = published?;
            log.end_of("UPLOAD_ARTIFACTS", status, &context).await;
            let report_arns = manifest.reports.iter().map(|report| report_arn(&doc, report)).collect();
            let facts = Facts::Stored { report_arns, uploaded };
            self.step(Step { input: Input::Published { status, context }, facts }).await?;
        }
        log.flush().await;
        let archive = folder.join(ARCHIVE);
        if let Some((bucket, key)) = view::log_object(&doc).filter(|_| archive.exists()) {
            let stored = objects.put_file(call, &bucket, &key, &archive, PutOptions::default()).await;
            if let Err(error) = stored {
                log.say(format!("The log could not be stored at s3://{bucket}/{key}: {error}")).await;
                log.flush().await;
            }
        }
        self.step(Step::plain(Input::Finalized)).await.map(drop)
    }

    /// Returns when the build is over without this attempt's doing: it was stopped.
    async fn ended_elsewhere(&self) {
        let mut changed = self.service.store.queue_changed(BUILDS_QUEUE);
        loop {
            match self.service.store.get::<BuildDoc>(&self.held.key).await {
                Ok(Some(doc)) if doc.progress.status().is_none() => {}
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "cannot see whether a build was stopped"),
            }
            // The signal is this process's own; a server elsewhere is noticed by and by.
            let _ = tokio::time::timeout(LOOK_AGAIN, changed.changed()).await;
        }
    }
}

#[async_trait]
impl Assignment for Local {
    async fn step(&self, step: Step) -> Result<BuildDoc, Stopped> {
        let guard = |_: &BuildDoc, txn: &mut Txn| {
            txn.guard(self.held.lease());
        };
        Ok(self.service.advance(&self.held.key, |doc| step.apply(doc), guard).await?)
    }

    async fn over(&self) {
        tokio::select! {
            () = self.held.cancelled() => {}
            () = self.ended_elsewhere() => {}
        }
    }

    async fn open(&self, doc: &BuildDoc) -> Result<Opened, Denied> {
        let call = self.service.role(doc).await.map_err(Denied::to(provision::ASSUME))?;
        let call = self.role.get_or_init(|| call);
        self.service.open(call, doc).await
    }

    async fn fetch(
        &self,
        (_, plan): (usize, &SourcePlan),
        scratch: &Path,
    ) -> Result<Option<String>, SourceError> {
        source::download(&self.service, self.call()?, plan, scratch).await
    }

    async fn buildspec_object(&self, doc: &BuildDoc) -> Result<Vec<u8>, BuildspecFailure> {
        self.service.buildspec_object(self.call()?, doc).await
    }

    async fn deliver(&self, manifest: &Manifest, folder: &Path, log: &Log) -> Result<(), Stopped> {
        let staged = Step::staged(manifest);
        let stays = |_: &BuildDoc, txn: &mut Txn| {
            txn.guard(self.held.lease());
        };
        let place = self.service.place.clone();
        let doc = self.service.advance(
            &self.held.key,
            |doc| {
                doc.staged_at = Some(place.clone());
                staged.apply(doc)
            },
            stays,
        );
        let doc = doc.await?;
        tokio::select! {
            ended = self.finish(doc, folder, log) => ended,
            () = self.held.cancelled() => Err(Stopped::Lost),
        }
    }
}

/// A log stream of the Logs service, written to as the build's role.
struct Stream {
    service: Arc<CodeBuildService>,
    call: Call,
    /// Group and stream. `None`: the project wants no such log.
    name: Option<(String, String)>,
    writer: LogWriter,
}

/// Who writes, and how much at most.
pub(crate) struct LogWriter {
    pub id: String,
    pub limit_bytes: u64,
}

#[async_trait]
impl LogSink for Stream {
    fn now(&self) -> Timestamp {
        self.service.store.wall()
    }

    async fn write(&self, number: u64, events: Vec<InputLogEvent>) -> Result<(), ApiError> {
        self.put(Some(number), events).await
    }
}

impl Stream {
    async fn put(&self, number: Option<u64>, events: Vec<InputLogEvent>) -> Result<(), ApiError> {
        let Some((group, name)) = &self.name else { return Ok(()) };
        let now = self.now().as_millis();
        let events = events.into_iter();
        let batch = LogBatch {
            group: group.clone(),
            stream: name.clone(),
            writer: self.writer.id.clone(),
            number,
            limit_bytes: self.writer.limit_bytes,
            events: events
                .map(|event| (event.timestamp.unwrap_or(now), event.message.unwrap_or_default()))
                .collect(),
        };
        self.service.log_batches.put_batch(&self.call, batch).await
    }
}

/// What is done for a build as its service role, for this process and for workers.
impl CodeBuildService {
    pub(crate) async fn role(&self, doc: &BuildDoc) -> Result<Call, ApiError> {
        let role = doc.project.service_role.as_deref().unwrap_or_default();
        self.identity.service_call(SERVICE, role, &session_name(doc)).await
    }

    /// Credentials for the commands, and the log.
    pub(crate) async fn open(self: &Arc<Self>, call: &Call, doc: &BuildDoc) -> Result<Opened, Denied> {
        let credentials = self.credentials(doc).await.map_err(Denied::to(provision::MAKE_CREDENTIALS))?;
        let log = self.open_log(call, doc).await.map_err(Denied::to(provision::OPEN_LOG))?;
        Ok(Opened { credentials, log })
    }

    async fn credentials(&self, doc: &BuildDoc) -> Result<Option<SessionCredentials>, ApiError> {
        if self.config.endpoint.is_none() {
            return Ok(None);
        }
        let role = doc.project.service_role.as_deref().unwrap_or_default();
        let minutes = doc.project.timeout_in_minutes.unwrap_or(60);
        let seconds = (minutes * 60 + 900).clamp(900, MAX_SESSION_SECONDS) as u32;
        self.identity.service_credentials(SERVICE, role, &session_name(doc), seconds).await.map(Some)
    }

    /// Makes group and stream where they do not exist, as the service role: without the permission the build
    /// cannot begin, as with AWS.
    pub(crate) async fn open_log(
        self: &Arc<Self>,
        call: &Call,
        doc: &BuildDoc,
    ) -> Result<Arc<dyn LogSink>, ApiError> {
        let name = view::log_stream(doc);
        if let Some((group, name)) = &name {
            let create_group =
                CreateLogGroupInput { log_group_name: Some(group.clone()), ..Default::default() };
            exists_already(self.logs.create_log_group(call, create_group).await.map(drop)).or_else(
                |error| {
                    // Permission to write into a group that is there is enough.
                    if error.code.contains("AccessDenied") { Ok(()) } else { Err(error) }
                },
            )?;
            let create = CreateLogStreamInput {
                log_group_name: Some(group.clone()),
                log_stream_name: Some(name.clone()),
            };
            exists_already(self.logs.create_log_stream(call, create).await.map(drop))?;
        }
        // A process that goes on with a build is another writer.
        let writer = LogWriter { id: id::uuid(), limit_bytes: u64::MAX };
        Ok(Arc::new(self.log_stream(call, doc, writer)))
    }

    fn log_stream(self: &Arc<Self>, call: &Call, doc: &BuildDoc, writer: LogWriter) -> Stream {
        Stream { service: self.clone(), call: call.clone(), name: view::log_stream(doc), writer }
    }

    /// A worker's batch.
    pub(crate) async fn write_log(
        self: &Arc<Self>,
        (call, doc): (&Call, &BuildDoc),
        writer: LogWriter,
        (number, events): (Option<u64>, Vec<InputLogEvent>),
    ) -> Result<(), ApiError> {
        self.log_stream(call, doc, writer).put(number, events).await
    }

    pub(crate) async fn buildspec_object(
        &self,
        call: &Call,
        doc: &BuildDoc,
    ) -> Result<Vec<u8>, BuildspecFailure> {
        let (bucket, key) =
            source::buildspec_address(doc).ok_or_else(|| ApiError::internal("the buildspec is no object"))?;
        let limit = MAX_BUILDSPEC_BYTES as u64;
        let (_, bytes) = self.objects.get_bytes(call, &bucket, &key, None, limit).await?;
        Ok(bytes.to_vec())
    }
}

fn session_name(doc: &BuildDoc) -> String {
    format!("AWSCodeBuild-{}", doc.uuid())
}

fn exists_already(result: Result<(), ApiError>) -> Result<(), ApiError> {
    match result {
        Err(error) if error.code == "ResourceAlreadyExistsException" => Ok(()),
        other => other,
    }
}
