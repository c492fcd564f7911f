//! Writing: packs in, references moved, and the report.
//!
//! A push is read up to the end of its commands; each reference is put to the caller's policies; what is
//! allowed goes to `git receive-pack` with the pack streaming behind it. Git's progress goes to the
//! client at once, its report only after the moves are recorded with their events.
//!
//! Crash: before git moves a reference, nothing happened. After, the move is recorded at the next start;
//! the client saw no report and asks again. A client that goes away while it sends ends the push; one
//! that goes later does not: the push is carried through.

use super::body::{self, BodyError, BodyReader, BodyWriter};
use super::{BoxError, GitResponse, Refusal, git_response};
use crate::error::Error;
use crate::git::GitError;
use crate::git::pktline::{self, Packet};
use crate::git::receive::{self, BadPush, Outcome, Push, Report, SideBand, ZERO_ID};
use crate::git::repository;
use crate::names;
use crate::reconcile::blocking;
use crate::service::{CodeCommitService, authorize};
use crate::shared::Entry;
use crate::store::Repository;
use crate::write::{MANY_BYTES, ReceivePlan};
use ::http::StatusCode;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::ChildStdout;
use towpath_api::Call;

/// The whole of one push.
const MAX_PUSH: Duration = Duration::from_secs(4 * 3600);
/// Git's report about 4,000 references, some of them with long reasons.
const MAX_REPORT_BYTES: usize = 8 << 20;
const CONTENT_TYPE: &str = "application/x-git-receive-pack-result";

/// A push under way.
struct Pushing {
    service: Arc<CodeCommitService>,
    call: Call,
    repository: Repository,
    /// As the client sent it.
    asked: Push,
    /// What git shall do.
    allowed: Push,
    /// By reference: why it was refused before git saw it.
    refused: BTreeMap<String, String>,
}

impl CodeCommitService {
    pub(super) async fn push<B>(
        self: &Arc<Self>,
        call: Call,
        repository: Repository,
        mut request: BodyReader<B>,
    ) -> Result<GitResponse, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (writer, response) = body::channel();
        let (asked, rest) = match read_commands(&mut request).await? {
            Ok(read) => read,
            Err((asked, error)) => {
                // In git's own words, which reach the user's terminal; an HTTP error's text does not.
                tokio::spawn(async move {
                    let report = Report { unpack: error.to_string(), outcomes: Vec::new() };
                    match drain(request).await {
                        Ok(()) => drop(writer.send(encode(&asked, &report, Vec::new())).await),
                        Err(error) => writer.fail(error).await,
                    }
                });
                return git_response(CONTENT_TYPE.into(), response);
            }
        };
        if asked.commands.is_empty() {
            // Git's probe before a large push: only the status counts.
            return git_response(CONTENT_TYPE.into(), response);
        }
        let refused = self.refusals(&call, &repository, &asked);
        let mut allowed = asked.clone();
        match asked.is_atomic() && !refused.is_empty() {
            true => allowed.commands.clear(),
            false => allowed.commands.retain(|command| !refused.contains_key(&command.name)),
        }
        let pushing = Pushing { service: self.clone(), call, repository, asked, allowed, refused };
        // Detached: once git has the whole pack, the push no longer depends on who listens.
        tokio::spawn(async move {
            let work = pushing.run(request, rest, &writer);
            match tokio::time::timeout(MAX_PUSH, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a push failed");
                    writer.fail(error).await;
                }
                Err(_) => writer.fail("the push took too long").await,
            }
        });
        git_response(CONTENT_TYPE.into(), response)
    }

    /// What this caller may not do, by reference.
    fn refusals(&self, call: &Call, repository: &Repository, push: &Push) -> BTreeMap<String, String> {
        let reason = |name: &str| {
            if !names::is_pushable(name) {
                return Some(
                    "invalid reference name: at most 256 characters, below refs/heads/ or refs/tags/"
                        .to_owned(),
                );
            }
            let context = [("codecommit:References", name)];
            authorize(call, "codecommit:GitPush", &repository.name, Some(repository), &context)
                .err()
                .map(|denial| denial.message)
        };
        push.commands
            .iter()
            .filter_map(|command| Some((command.name.clone(), reason(&command.name)?)))
            .collect()
    }
}

/// A push that breaks the rules: what is known of it, and which rule.
type Broken = (Push, BadPush);

/// Reads the command section; what came behind it belongs to the pack.
async fn read_commands<B>(request: &mut BodyReader<B>) -> Result<Result<(Push, BytesMut), Broken>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut buffer = BytesMut::new();
    let mut reader = receive::Reader::default();
    loop {
        match reader.read(&mut buffer) {
            Ok(Some(push)) => return Ok(Ok((push, buffer))),
            Ok(None) => {}
            Err(error) => {
                let asked = reader.into_asked();
                if asked.wants_report() {
                    return Ok(Err((asked, error)));
                }
                return Err(Refusal::new(StatusCode::BAD_REQUEST, error.to_string()));
            }
        }
        match request.next().await? {
            Some(piece) => buffer.extend_from_slice(&piece),
            None => {
                let message = "The push ended in the middle of its commands.";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
            }
        }
    }
}

/// A client sends its whole pack before it reads an answer.
async fn drain<B>(mut request: BodyReader<B>) -> Result<(), BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    while request.next().await?.is_some() {}
    Ok(())
}

/// The end of a response: what was already said, the report where the client wants one, a flush.
fn encode(asked: &Push, report: &Report, said: Vec<u8>) -> Vec<u8> {
    let (mut out, band) = (said, asked.side_band());
    if asked.wants_report() {
        let encoded = report.encode();
        match band {
            SideBand::None => out.extend_from_slice(&encoded),
            _ => pktline::put_band(&mut out, 1, &encoded, band.packet_bytes()),
        }
    }
    if band != SideBand::None {
        out.extend_from_slice(pktline::FLUSH);
    }
    out
}

impl Pushing {
    async fn run<B>(
        self,
        mut request: BodyReader<B>,
        rest: BytesMut,
        writer: &BodyWriter,
    ) -> Result<(), BoxError>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if self.allowed.commands.is_empty() {
            drain(request).await?;
            let report = Report { unpack: "ok".into(), outcomes: Vec::new() };
            self.answer(writer, Some(report)).await;
            return Ok(());
        }
        let entry = self.service.enter(&self.repository.id).await?;
        let keeps_pack = request.announced_bytes().is_none_or(|bytes| bytes > MANY_BYTES as u64);
        let plan = ReceivePlan { keeps_pack, references: self.allowed.commands.len() };
        let command = self.service.receive_command(&self.call, entry.path(), plan);
        let (mut running, stdin) = self.service.git.start_fed(command).await?;
        let Some(stdout) = running.stdout() else { return Err("git has no output".into()) };
        let mut first = BytesMut::from(&self.allowed.encode()[..]);
        first.unsplit(rest);
        let feeding = feed(&mut request, stdin, first.freeze());
        let listening = listen(stdout, self.asked.side_band(), writer);
        // A client that goes away while it sends ends git's input; git then cleans up and ends by itself.
        let (fed, report) = tokio::join!(feeding, listening);
        let (status, stderr) = running.finish().await?;
        drop(running);
        let report = Report::decode(&report?);
        if !status.success() || !stderr.is_empty() {
            tracing::warn!(%status, stderr, repository = self.repository.id, "git receive-pack complained");
        }
        let names = self.names();
        self.service.flush_references(&entry, &names, plan).await?;
        let report = self.record(entry, names, report).await?;
        if plan.keeps_pack {
            self.service.upkeep.ask(&self.repository.id);
        }
        fed?;
        self.answer(writer, report).await;
        Ok(())
    }

    /// What git was asked to move.
    fn names(&self) -> BTreeSet<String> {
        self.allowed.commands.iter().map(|command| command.name.clone()).collect()
    }

    /// Records what moved. Where that fails, no reference is reported as moved.
    async fn record(
        &self,
        entry: Entry,
        names: BTreeSet<String>,
        report: Option<Report>,
    ) -> Result<Option<Report>, Error> {
        let caller = self.call.caller.arn();
        let recorded = self.service.leave(entry, &self.repository.id, &names, &caller).await;
        let Some(mut report) = report else {
            recorded?;
            return Ok(None);
        };
        match recorded {
            Ok(overtaken) => {
                for outcome in &mut report.outcomes {
                    if let Some(reason) = overtaken.get(outcome.name()) {
                        let (name, reason) = (outcome.name().to_owned(), reason.clone());
                        *outcome = Outcome::Refused { name, reason };
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, repository = self.repository.id, "a push could not be recorded");
                for outcome in &mut report.outcomes {
                    let reason = "the server could not record the change; push again".to_owned();
                    *outcome = Outcome::Refused { name: outcome.name().to_owned(), reason };
                }
            }
        }
        let path = match self.service.ready(&self.repository).await {
            Ok(path) => path,
            // What was recorded stays recorded; only the reasons are less exact.
            Err(_) => return Ok(Some(report)),
        };
        let now = blocking(move || repository::references(&path, Some(&names))).await?;
        for outcome in &mut report.outcomes {
            self.explain(outcome, &now);
        }
        Ok(Some(report))
    }

    /// Says it plainly when someone else was faster.
    fn explain(&self, outcome: &mut Outcome, now: &BTreeMap<String, String>) {
        let Outcome::Refused { name, reason } = outcome else { return };
        let Some(command) = self.allowed.commands.iter().find(|command| command.name == *name) else {
            return;
        };
        let current = now.get(name).map_or(ZERO_ID, String::as_str);
        if current == command.old || current == command.new {
            return;
        }
        *reason = match current {
            ZERO_ID => "stale info: the reference was deleted while you pushed; fetch first".to_owned(),
            id => format!(
                "non-fast-forward: the reference moved to {} while you pushed; fetch first",
                &id[..12]
            ),
        };
    }

    /// Sends the report: git's own, and what was refused before.
    async fn answer(&self, writer: &BodyWriter, report: Option<Report>) {
        let band = self.asked.side_band();
        let mut out = Vec::new();
        let mut say = |text: &str, channel: u8| {
            if band != SideBand::None {
                pktline::put_band(&mut out, channel, text.as_bytes(), band.packet_bytes());
            }
        };
        for (name, reason) in &self.refused {
            say(&format!("error: {}: {}\n", receive::one_line(name), receive::one_line(reason)), 2);
        }
        let Some(mut report) = report else {
            say("git could not take the push; the server's log says why\n", 3);
            out.extend_from_slice(pktline::FLUSH);
            writer.send(out).await;
            return;
        };
        let mut outcomes: BTreeMap<String, Outcome> =
            report.outcomes.drain(..).map(|outcome| (outcome.name().to_owned(), outcome)).collect();
        for command in &self.asked.commands {
            let name = command.name.clone();
            let reason = match self.refused.get(&name) {
                Some(reason) => reason.clone(),
                None if self.allowed.commands.is_empty() => {
                    "atomic push: another reference was refused".to_owned()
                }
                None => "git did not say what became of it".to_owned(),
            };
            report.outcomes.push(outcomes.remove(&name).unwrap_or(Outcome::Refused { name, reason }));
        }
        writer.send(encode(&self.asked, &report, out)).await;
    }
}

/// The commands and the pack into git. When git stops reading (it refused the pack), the rest is read
/// and dropped: the client listens only after it has sent everything.
async fn feed<B>(request: &mut BodyReader<B>, stdin: UnixStream, first: Bytes) -> Result<(), BodyError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut stdin = Some(stdin);
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        if let Some(open) = &mut stdin
            && open.write_all(&bytes).await.is_err()
        {
            stdin = None;
        }
        piece = request.next().await?;
    }
    Ok(())
}

/// Git's output: progress and errors to the client at once, the report kept.
async fn listen(stdout: ChildStdout, band: SideBand, writer: &BodyWriter) -> Result<Vec<u8>, GitError> {
    let mut stdout = stdout;
    let mut buffer = BytesMut::new();
    let mut report = Vec::new();
    loop {
        while let Some(packet) = pktline::take(&mut buffer).map_err(GitError::unreadable)? {
            match (packet, band) {
                (Packet::Data(line), SideBand::None) => pktline::put(&mut report, &line),
                (Packet::Data(line), _) => match line.split_first() {
                    Some((1, rest)) => report.extend_from_slice(rest),
                    Some((channel, rest)) => {
                        let mut out = Vec::with_capacity(line.len() + 4);
                        pktline::put_band(&mut out, *channel, rest, band.packet_bytes());
                        // A client that went away does not stop the push.
                        writer.send(out).await;
                    }
                    None => {}
                },
                (Packet::Flush, SideBand::None) => report.extend_from_slice(pktline::FLUSH),
                _ => {}
            }
        }
        if report.len() > MAX_REPORT_BYTES {
            return Err(GitError::Unreadable("git's report is too long".into()));
        }
        let count =
            stdout.read_buf(&mut buffer).await.map_err(GitError::io("reading from git receive-pack"))?;
        if count == 0 {
            return Ok(report);
        }
    }
}
