//! What moves between a server and a worker as tar archives: sources out, results in.
//!
//! A source is fetched by the server, as the build's role, into a folder of its own, and streamed from there.
//! Results come whole or not at all: they are received, opened, checked and synced beside the place where the
//! build's staged files belong, renamed there, and only then is the build `Publishing`.
//! What they may be is in [`super::results`].

use super::door::{WorkDoor, not_held};
use super::held::{counted, refusal};
use super::protocol::{COMMIT_HEADER, Delivery, DocAnswer, SourceRequest};
use super::results::{Room, open};
use super::tokens::TokenDoc;
use crate::state::{PhaseKind, State};
use crate::store::BuildDoc;
use crate::work::assignment::Step;
use crate::work::source::{self, SourceError};
use crate::work::{builds_folder, folder, jobs, remove_folder};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use towpath_api::{ApiError, id};
use towpath_store::Txn;
use towpath_wire::{BoxError, Response};

/// A worker that sends nothing for this long has gone.
const IDLE: Duration = Duration::from_secs(60);
const PIECE_BYTES: usize = 64 << 10;
const PIECES: usize = 8;

/// A folder that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(door: &WorkDoor, doc: &BuildDoc) -> io::Result<Scratch> {
        let path = builds_folder(&door.service).join(format!("{}-transfer-{}", doc.uuid(), id::uuid()));
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove_folder(&path).await });
        }
    }
}

impl WorkDoor {
    /// One of the build's sources, as a tar of its folder.
    pub(super) async fn source(&self, token: &TokenDoc, ask: SourceRequest) -> Result<Response, ApiError> {
        let (doc, _) = self.running(token, &ask.hold).await?;
        let permit = self.transfers.clone().acquire_owned().await.map_err(ApiError::internal)?;
        let call = self.service.role(&doc).await?;
        let scratch = Scratch::new(self, &doc).map_err(ApiError::internal)?;
        let plans = source::plan(&doc, &scratch.0.join("sources"), Path::new("/"));
        let plan = plans.into_iter().nth(ask.index);
        let plan = plan.ok_or_else(|| ApiError::validation("the build has no source of this number"))?;
        std::fs::create_dir_all(&plan.host).map_err(ApiError::internal)?;
        let fetched = source::download(&self.service, &call, &plan, &scratch.0).await;
        let commit = fetched.map_err(|error| match error {
            SourceError::Api(error) => error,
            SourceError::Io(error) => ApiError::internal(error),
            other => ApiError::client("SourceException", other.to_string()),
        })?;
        let (sender, receiver) = mpsc::channel(PIECES);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut pieces = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE_BYTES) };
            if let Err(error) = pack(&plan.host, &mut pieces) {
                let _ = sender.blocking_send(Err(error.into()));
            }
            drop(scratch);
        });
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let piece: Result<Bytes, BoxError> = receiver.recv().await?;
            Some((piece.map(Frame::data), receiver))
        });
        let mut response = http::Response::new(StreamBody::new(stream).boxed());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
        if let Some(commit) = commit.and_then(|commit| HeaderValue::from_str(&commit).ok()) {
            headers.insert(COMMIT_HEADER, commit);
        }
        Ok(response)
    }

    /// Everything that a build left. With the answer, the worker is not needed any more.
    pub(super) async fn receive(
        &self,
        token: &TokenDoc,
        Delivery { hold, number }: Delivery,
        body: Incoming,
    ) -> Result<DocAnswer, ApiError> {
        if let Some(doc) = self.taken_already(token, &hold, number).await? {
            return Ok(DocAnswer { doc });
        }
        let (doc, lease) = self.running(token, &hold).await?;
        let State::Running { attempt } = doc.progress.state else { return Err(not_held()) };
        if doc.progress.current().is_none_or(|phase| phase.kind != PhaseKind::UploadArtifacts) {
            return Err(ApiError::validation("the build is not at UPLOAD_ARTIFACTS"));
        }
        let _permit = self.transfers.clone().acquire_owned().await.map_err(ApiError::internal)?;
        let scratch = Scratch::new(self, &doc).map_err(ApiError::internal)?;
        let archive = scratch.0.join("results.tar");
        let room = Room::of(&self.service.config.bounds);
        save(body, &archive, room.total_bytes()).await?;
        let target = folder(&self.service, &doc, attempt);
        let (files, build) = (scratch.0.join("files"), doc.into_doc());
        let opened = tokio::task::spawn_blocking(move || open(&archive, (&files, &target), &build, &room));
        let manifest = opened.await.map_err(ApiError::internal)??;
        let staged = Step::staged(&manifest);
        let settle = |doc: &BuildDoc, txn: &mut Txn| {
            txn.complete(&lease);
            jobs::await_publishing(&self.service, doc, &self.service.place, txn);
        };
        let deliver = |doc: &mut BuildDoc| {
            doc.staged_at = Some(self.service.place.clone());
            counted(doc, number, &staged)
        };
        let doc = self.service.advance(&hold.build, deliver, settle).await.map_err(refusal)?;
        Ok(DocAnswer { doc })
    }
}

/// Writes into a response, piece by piece. An end of the reader is an error.
struct Pieces {
    sender: mpsc::Sender<Result<Bytes, BoxError>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(piece.into())).map_err(gone)
    }
}

/// A folder as a tar; symlinks stay symlinks.
pub(super) fn pack(folder: &Path, output: impl Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(output);
    builder.follow_symlinks(false);
    builder.append_dir_all(".", folder)?;
    builder.into_inner()?.flush()
}

/// Writes a request's body into a new file.
async fn save(mut body: Incoming, path: &Path, limit_bytes: u64) -> Result<(), ApiError> {
    let too_large = || {
        let message = format!("results larger than {limit_bytes} bytes");
        ApiError::client("RequestEntityTooLargeException", message).with_status(413)
    };
    let broken = |cause: String| ApiError::client("IncompleteBody", cause);
    if http_body::Body::size_hint(&body).lower() > limit_bytes {
        return Err(too_large());
    }
    let mut file = tokio::fs::File::create_new(path).await.map_err(ApiError::internal)?;
    let mut size_bytes = 0;
    loop {
        let frame = tokio::time::timeout(IDLE, body.frame()).await;
        let frame = frame.map_err(|_| broken(format!("nothing came for {} seconds", IDLE.as_secs())))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        size_bytes += data.len() as u64;
        if size_bytes > limit_bytes {
            return Err(too_large());
        }
        file.write_all(&data).await.map_err(ApiError::internal)?;
    }
    file.flush().await.map_err(ApiError::internal)
}
