//! A build's log: into CloudWatch Logs while it runs, and into S3 at its end where the project asks.
//!
//! Lines go through a bounded channel to one task, which sends what has gathered at most [`GATHER_MS`] after
//! the first of it. A slow log slows the build's output down; it never fills the memory. A log that fails
//! for good loses lines, and says how many.

use super::assignment::LogSink;
use crate::state::{Context, Status};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use towpath_api::Timestamp;
use towpath_api_logs::InputLogEvent;

/// The compressed log in an attempt's folder.
pub const ARCHIVE: &str = "log.gz";
const GATHER_MS: u64 = 150;
/// CloudWatch Logs' own bounds on a batch, with room: each event counts 26 bytes more.
const MAX_BATCH_BYTES: usize = 800 << 10;
const MAX_BATCH_EVENTS: usize = 5000;
pub const EVENT_OVERHEAD_BYTES: usize = 26;
const CHANNEL_LINES: usize = 1024;
const ATTEMPTS: u32 = 6;

enum Item {
    Line(String),
    Flush(oneshot::Sender<()>),
}

/// Where lines go. Clones write into the same log.
#[derive(Clone)]
pub struct Log {
    sender: mpsc::Sender<Item>,
    sink: Arc<dyn LogSink>,
    secrets: Arc<[String]>,
    limit_bytes: u64,
}

impl Log {
    /// Lines go to `sink`, and compressed behind what `archive` holds. In none of them is a secret readable.
    pub fn open(sink: Arc<dyn LogSink>, secrets: Vec<String>, archive: Option<File>) -> Log {
        let archive = archive.map_or(Archive::None, Archive::Between);
        let (sender, receiver) = mpsc::channel(CHANNEL_LINES);
        let writer = Writer { sink: sink.clone(), archive, lost: 0, batches: 0 };
        tokio::spawn(writer.run(receiver));
        let secrets: Vec<String> = secrets.into_iter().filter(|secret| secret.len() >= 8).collect();
        Log { sender, sink, secrets: secrets.into(), limit_bytes: u64::MAX }
    }

    /// A line of CodeBuild's own.
    pub async fn say(&self, text: impl AsRef<str>) {
        let now = self.sink.now();
        self.line(format!("[Container] {} {}", stamp(now), text.as_ref())).await;
    }

    /// The two lines that end a phase.
    pub async fn end_of(&self, phase: &str, status: Status, context: &Context) {
        self.say(format!("Phase complete: {phase} State: {status}")).await;
        self.say(format!("Phase context status code: {} Message: {}", context.code, context.message)).await;
    }

    /// A line as a command printed it.
    pub async fn line(&self, mut line: String) {
        for secret in self.secrets.iter() {
            if line.contains(secret.as_str()) {
                line = line.replace(secret.as_str(), "***");
            }
        }
        // The task is gone only while the server stops.
        let _ = self.sender.send(Item::Line(line)).await;
    }

    /// How much of what commands print is kept.
    pub fn with_limit(self, limit_bytes: u64) -> Log {
        Log { limit_bytes, ..self }
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Returns when everything so far is stored: another process that goes on from here writes behind it.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.sender.send(Item::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

/// `2026/11/20 10:11:12.123000`.
fn stamp(time: Timestamp) -> String {
    format!("{}000", time.format("%Y/%m/%d %H:%M:%S.%3f"))
}

/// The compressed file: a row of members, each whole before the next begins.
enum Archive {
    None,
    Between(File),
    Within(Box<GzEncoder<File>>),
}

struct Writer {
    sink: Arc<dyn LogSink>,
    archive: Archive,
    lost: usize,
    /// Batches so far: the last one's number.
    batches: u64,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Item>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(item) = receiver.recv().await {
            let mut next = Some(item);
            let deadline = tokio::time::Instant::now() + Duration::from_millis(GATHER_MS);
            let mut flushing = None;
            while let Some(item) = next.take() {
                match item {
                    Item::Line(line) => {
                        bytes += line.len() + EVENT_OVERHEAD_BYTES;
                        self.keep(&line);
                        batch.push(self.event(line));
                    }
                    Item::Flush(done) => {
                        flushing = Some(done);
                        break;
                    }
                }
                if bytes >= MAX_BATCH_BYTES || batch.len() >= MAX_BATCH_EVENTS {
                    break;
                }
                next = tokio::time::timeout_at(deadline, receiver.recv()).await.ok().flatten();
            }
            self.send(std::mem::take(&mut batch)).await;
            bytes = 0;
            if let Some(done) = flushing {
                self.flush();
                let _ = done.send(());
            }
        }
    }

    fn flush(&mut self) {
        let finished = match std::mem::replace(&mut self.archive, Archive::None) {
            Archive::Within(encoder) => encoder.finish(),
            Archive::Between(file) => Ok(file),
            Archive::None => return,
        };
        match finished.and_then(|file| file.sync_all().map(|()| file)) {
            Ok(file) => self.archive = Archive::Between(file),
            Err(error) => tracing::error!(%error, "cannot finish a build's log file"),
        }
    }

    fn keep(&mut self, line: &str) {
        let mut encoder = match std::mem::replace(&mut self.archive, Archive::None) {
            Archive::Within(encoder) => encoder,
            Archive::Between(file) => Box::new(GzEncoder::new(file, Compression::default())),
            Archive::None => return,
        };
        match writeln!(encoder, "{line}") {
            Ok(()) => self.archive = Archive::Within(encoder),
            Err(error) => tracing::error!(%error, "cannot write a build's log file"),
        }
    }

    fn event(&self, line: String) -> InputLogEvent {
        // An event must not be empty.
        let message = if line.is_empty() { " ".to_owned() } else { line };
        InputLogEvent { message: Some(message), timestamp: Some(self.sink.now().as_millis()) }
    }

    async fn send(&mut self, mut batch: Vec<InputLogEvent>) {
        if batch.is_empty() {
            return;
        }
        if self.lost > 0 {
            let text = format!("[Container] {} lines before this one could not be logged", self.lost);
            batch.insert(0, self.event(text));
        }
        ascend(&mut batch);
        self.batches += 1;
        for attempt in 0..ATTEMPTS {
            match self.sink.write(self.batches, batch.clone()).await {
                Ok(()) => {
                    self.lost = 0;
                    return;
                }
                Err(error) if error.status < 500 || attempt + 1 == ATTEMPTS => {
                    tracing::warn!(%error, "cannot write a build's log");
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100 << attempt)).await,
            }
        }
        self.lost += batch.len();
    }
}

/// A batch must ascend in time, whatever the clock did while it was gathered: each event takes at most
/// the time of the one after it.
fn ascend(batch: &mut [InputLogEvent]) {
    let mut latest = i64::MAX;
    for event in batch.iter_mut().rev() {
        latest = latest.min(event.timestamp.unwrap_or(latest));
        event.timestamp = Some(latest);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::io::Read;
    use std::sync::Mutex;
    use towpath_api::{ApiError, async_trait};

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    #[async_trait]
    impl LogSink for Kept {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_795_169_472_000)
        }

        async fn write(&self, _: u64, events: Vec<InputLogEvent>) -> Result<(), ApiError> {
            self.0.lock().unwrap().extend(events.into_iter().filter_map(|event| event.message));
            Ok(())
        }
    }

    /// Whoever goes on may be another process: nothing may wait for the end of this one.
    #[tokio::test]
    async fn what_is_flushed_is_stored_and_more_may_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ARCHIVE);
        let sink = Arc::new(Kept::default());
        let log = Log::open(sink.clone(), Vec::new(), Some(File::create(&path).unwrap()));
        let archived = || {
            let mut text = String::new();
            flate2::read::MultiGzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
            text
        };
        log.line("one".into()).await;
        log.flush().await;
        assert_eq!(*sink.0.lock().unwrap(), ["one"]);
        assert_eq!(archived(), "one\n");
        log.flush().await;
        log.line("two".into()).await;
        log.flush().await;
        assert_eq!(*sink.0.lock().unwrap(), ["one", "two"]);
        assert_eq!(archived(), "one\ntwo\n");
    }

    #[test]
    fn a_batch_ascends_whatever_the_clock_did() {
        let at = |timestamp| InputLogEvent { message: Some("x".into()), timestamp: Some(timestamp) };
        let mut batch = vec![at(9), at(5), at(7), at(6), at(8)];
        ascend(&mut batch);
        let times: Vec<i64> = batch.iter().filter_map(|event| event.timestamp).collect();
        assert_eq!(times, [5, 5, 6, 6, 8]);
    }
}
