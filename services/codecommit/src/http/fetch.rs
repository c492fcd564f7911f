//! Reading: the advertisement of references, and packs out.
//!
//! The git process is ended when the client goes away, and when it takes longer than it may.

use super::body::{self, BodyError, BodyReader, BodyWriter};
use super::{BoxError, GitResponse, Refusal, Service, git_response};
use crate::git::process::Running;
use crate::git::{GitError, pktline};
use crate::reconcile::Scope;
use crate::service::CodeCommitService;
use crate::store::Repository;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// What is read from git at once.
const PIECE_BYTES: usize = 64 * 1024;
/// What a client may ask for in one request: every id that it has and wants.
pub(super) const MAX_REQUEST_BYTES: u64 = 256 << 20;
/// What git's clients send to ask for it.
const VERSION_2: &str = "version=2";
/// How long what git said of itself holds: it may be replaced under a running server.
const CAPABILITIES_HOLD: Duration = Duration::from_secs(60);
const MAX_CAPABILITIES_BYTES: usize = 64 * 1024;
/// The whole of one fetch.
const MAX_FETCH: Duration = Duration::from_secs(4 * 3600);

/// What git said of itself, and when.
pub(crate) struct Capabilities {
    at: Instant,
    said: Bytes,
}

impl CodeCommitService {
    pub(super) async fn advertise(
        self: &Arc<Self>,
        repository: &Repository,
        service: Service,
        protocol: Option<&str>,
    ) -> Result<GitResponse, Refusal> {
        // A move that the server died over is recorded before anyone sees it.
        self.reconcile(&repository.id, Scope::All, None).await?;
        let path = self.ready(repository).await?;
        let content_type = format!("application/x-git-{}-advertisement", service.name());
        if service == Service::UploadPack && protocol == Some(VERSION_2) {
            let said = self.capabilities(&path).await?;
            let body = Full::new(said).map_err(|never| match never {}).boxed();
            return git_response(content_type, body);
        }
        let command = self.advertising(&path, service, protocol);
        let mut running = self.git.start(command).await?;
        drop(running.stdin());
        let (writer, response) = body::channel();
        let version_2 = service == Service::UploadPack
            && protocol.is_some_and(|text| text.split(':').any(|word| word == "version=2"));
        let mut preamble = Vec::new();
        if !version_2 {
            pktline::put(&mut preamble, format!("# service=git-{}\n", service.name()).as_bytes());
            preamble.extend_from_slice(pktline::FLUSH);
        }
        tokio::spawn(async move {
            writer.send(preamble).await;
            pump(running, writer).await;
        });
        git_response(content_type, response)
    }

    fn advertising(&self, path: &Path, service: Service, protocol: Option<&str>) -> Command {
        let arguments = [service.name(), "--stateless-rpc", "--http-backend-info-refs"];
        let mut words: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        words.push(path.as_os_str());
        let mut command = self.git.command(&words);
        if let Some(protocol) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        command
    }

    /// What git says first in version 2: what it can do, and nothing about the repository. All repositories have
    /// one format and one configuration, so one answer serves them all, until git itself may have changed.
    async fn capabilities(&self, path: &Path) -> Result<Bytes, GitError> {
        let fresh = |known: &Capabilities| known.at.elapsed() < CAPABILITIES_HOLD;
        let lock = || self.capabilities.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().as_ref().filter(|known| fresh(known)) {
            return Ok(known.said.clone());
        }
        let at = Instant::now();
        let command = self.advertising(path, Service::UploadPack, Some(VERSION_2));
        let said = Bytes::from(self.git.run(command, MAX_CAPABILITIES_BYTES).await?);
        *lock() = Some(Capabilities { at, said: said.clone() });
        Ok(said)
    }

    pub(super) async fn fetch<B>(
        self: &Arc<Self>,
        repository: &Repository,
        protocol: Option<&str>,
        request: BodyReader<B>,
    ) -> Result<GitResponse, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let path = self.ready(repository).await?;
        let mut command =
            self.git.command(&[OsStr::new("upload-pack"), OsStr::new("--stateless-rpc"), path.as_os_str()]);
        if let Some(protocol) = protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        let mut running = self.git.start(command).await?;
        let stdin = running.stdin();
        let (writer, response) = body::channel();
        tokio::spawn(async move {
            let feeding = feed(request, stdin);
            let pumping = pump(running, writer.clone());
            tokio::pin!(pumping);
            tokio::select! {
                // Once git has all of the request, only its answer matters.
                fed = feeding => match fed {
                    Ok(()) => pumping.await,
                    Err(error) => writer.fail(error).await,
                },
                () = &mut pumping => {}
            }
        });
        git_response("application/x-git-upload-pack-result".into(), response)
    }
}

/// The request into git. Git may stop reading early: that is no failure.
async fn feed<B>(mut request: BodyReader<B>, stdin: Option<ChildStdin>) -> Result<(), BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut stdin = stdin;
    while let Some(piece) = request.next().await? {
        if let Some(open) = &mut stdin
            && open.write_all(&piece).await.is_err()
        {
            stdin = None;
        }
    }
    Ok(())
}

/// Git's output to the client, until either ends.
async fn pump(mut running: Running, writer: BodyWriter) {
    let Some(stdout) = running.stdout() else { return };
    let work = async {
        copy(stdout, &writer).await?;
        running.finish().await
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(MAX_FETCH, work) => outcome,
        () = writer.closed() => return,
    };
    match outcome {
        Ok(Ok((status, _))) if status.success() => {}
        Ok(Ok((status, stderr))) => {
            tracing::warn!(%status, stderr, "git upload-pack failed");
            writer.fail(format!("git failed: {stderr}")).await;
        }
        Ok(Err(error)) => writer.fail(error).await,
        Err(_) => writer.fail("the fetch took too long").await,
    }
}

async fn copy(mut stdout: ChildStdout, writer: &BodyWriter) -> Result<(), GitError> {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let count = stdout.read_buf(&mut piece).await.map_err(GitError::io("reading from git"))?;
        if count == 0 || !writer.send(piece).await {
            return Ok(());
        }
    }
}
