//! A build's log: into CloudWatch Logs while it runs, and into S3 at its end where the project asks.
//!
//! Lines go through a bounded channel to one task, which sends what has gathered at most [`GATHER_MS`] after
//! the first of it. A slow log slows the build's output down; it never fills the memory. A log that fails
//! for good loses lines, and says how many.

use super::assignment::LogSink;
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
    Close(oneshot::Sender<()>),
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
        let archive = archive.map(|file| GzEncoder::new(file, Compression::default()));
        let (sender, receiver) = mpsc::channel(CHANNEL_LINES);
        let writer = Writer { sink: sink.clone(), archive, lost: 0 };
        tokio::spawn(writer.run(receiver));
        let secrets: Vec<String> = secrets.into_iter().filter(|secret| secret.len() >= 8).collect();
        Log { sender, sink, secrets: secrets.into(), limit_bytes: u64::MAX }
    }

    /// A line of CodeBuild's own.
    pub async fn say(&self, text: impl AsRef<str>) {
        let now = self.sink.now();
        self.line(format!("[Container] {} {}", stamp(now), text.as_ref())).await;
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

    /// Returns when everything so far is stored.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.sender.send(Item::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// `2026/11/20 10:11:12.123000`.
fn stamp(time: Timestamp) -> String {
    format!("{}000", time.format("%Y/%m/%d %H:%M:%S.%3f"))
}

struct Writer {
    sink: Arc<dyn LogSink>,
    archive: Option<GzEncoder<File>>,
    lost: usize,
}

impl Writer {
    async fn run(mut self, mut receiver: mpsc::Receiver<Item>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(item) = receiver.recv().await {
            let mut next = Some(item);
            let deadline = tokio::time::Instant::now() + Duration::from_millis(GATHER_MS);
            let mut closing = None;
            while let Some(item) = next.take() {
                match item {
                    Item::Line(line) => {
                        bytes += line.len() + EVENT_OVERHEAD_BYTES;
                        self.keep(&line);
                        batch.push(self.event(line));
                    }
                    Item::Close(done) => {
                        closing = Some(done);
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
            if let Some(done) = closing {
                if let Some(archive) = self.archive.take()
                    && let Err(error) = archive.finish().and_then(|file| file.sync_all())
                {
                    tracing::error!(%error, "cannot finish a build's log file");
                }
                let _ = done.send(());
            }
        }
    }

    fn keep(&mut self, line: &str) {
        if let Some(archive) = &mut self.archive
            && let Err(error) = writeln!(archive, "{line}")
        {
            tracing::error!(%error, "cannot write a build's log file");
            self.archive = None;
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
        for attempt in 0..ATTEMPTS {
            match self.sink.write(batch.clone()).await {
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
    use super::*;

    #[test]
    fn a_batch_ascends_whatever_the_clock_did() {
        let at = |timestamp| InputLogEvent { message: Some("x".into()), timestamp: Some(timestamp) };
        let mut batch = vec![at(9), at(5), at(7), at(6), at(8)];
        ascend(&mut batch);
        let times: Vec<i64> = batch.iter().filter_map(|event| event.timestamp).collect();
        assert_eq!(times, [5, 5, 6, 6, 8]);
    }
}
