//! The documents: groups, streams, segments.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use towpath_api::Timestamp;
use towpath_store::{Document, key};

/// A log group. Its `id` is new for every creation: what belongs to a deleted group of the same name is
/// never seen again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub account: String,
    pub region: String,
    pub name: String,
    pub id: String,
    pub created_at: Timestamp,
    pub retention_days: Option<i64>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Group {
    pub fn key_of(account: &str, region: &str, name: &str) -> String {
        key(&[account, region, name])
    }

    /// Events before this time have expired.
    pub fn cutoff_ms(&self, now: Timestamp) -> i64 {
        const DAY_MS: i64 = 24 * 3600 * 1000;
        self.retention_days
            .map_or(0, |days| now.as_millis().saturating_sub(days.saturating_mul(DAY_MS)).max(0))
    }
}

impl Document for Group {
    const KIND: &'static str = "logs/group";

    fn key(&self) -> String {
        Group::key_of(&self.account, &self.region, &self.name)
    }
}

/// A log stream and what is known of its events. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub group_id: String,
    pub name: String,
    pub id: String,
    pub created_at: Timestamp,
    pub first_event_ms: Option<i64>,
    pub last_event_ms: Option<i64>,
    pub last_ingestion_ms: Option<i64>,
    pub stored_bytes: i64,
    /// The number that the next event gets.
    pub next_number: i64,
    /// The time of the last event of each run.
    pub runs: Vec<i64>,
    /// Those that number their batches, who wrote last at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writers: Vec<Writer>,
}

/// What a writer has stored: written with the batch itself, so that a batch that is sent again is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Writer {
    pub id: String,
    /// Of its last batch.
    pub number: u64,
    pub bytes: u64,
}

impl Stream {
    pub fn key_of(group_id: &str, name: &str) -> String {
        key(&[group_id, name])
    }

    pub fn prefix_of(group_id: &str, name_prefix: &str) -> String {
        key(&[group_id, name_prefix])
    }
}

impl Document for Stream {
    const KIND: &'static str = "logs/stream";

    fn key(&self) -> String {
        Stream::key_of(&self.group_id, &self.name)
    }
}

/// An event's place in its stream: time, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub time_ms: i64,
    pub number: i64,
}

impl Position {
    pub const START: Position = Position { time_ms: 0, number: 0 };

    /// Before everything that has this time.
    pub fn at(time_ms: i64) -> Position {
        Position { time_ms: time_ms.max(0), number: 0 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEvent {
    pub position: Position,
    pub ingested_ms: i64,
    pub message: String,
}

impl LogEvent {
    /// What the event counts against every limit: its text in UTF-8 and 26 bytes.
    pub fn size_bytes(&self) -> i64 {
        self.message.len() as i64 + OVERHEAD_BYTES
    }
}

/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>
pub(crate) const OVERHEAD_BYTES: i64 = 26;

/// Events that follow one another within a run. Times and numbers are stored as differences to those of
/// the first event: a line of a build costs few bytes beside its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub stream_id: String,
    pub run: usize,
    pub first_ms: i64,
    pub last_ms: i64,
    first_number: i64,
    first_ingested_ms: i64,
    pub bytes: i64,
    events: Vec<(i64, i64, i64, String)>,
}

impl Segment {
    /// `None` for no events. They must be in order.
    pub fn new(stream_id: &str, run: usize, events: Vec<LogEvent>) -> Option<Segment> {
        let (first, last) = (events.first()?.position, events.last()?.position);
        let first_ingested_ms = events.first()?.ingested_ms;
        let bytes = events.iter().map(LogEvent::size_bytes).sum();
        let relative = |event: LogEvent| {
            let position = event.position;
            let ingested = event.ingested_ms - first_ingested_ms;
            (position.time_ms - first.time_ms, position.number - first.number, ingested, event.message)
        };
        Some(Segment {
            stream_id: stream_id.to_owned(),
            run,
            first_ms: first.time_ms,
            last_ms: last.time_ms,
            first_number: first.number,
            first_ingested_ms,
            bytes,
            events: events.into_iter().map(relative).collect(),
        })
    }

    pub fn into_events(self) -> impl DoubleEndedIterator<Item = LogEvent> {
        let (time, number, ingested) = (self.first_ms, self.first_number, self.first_ingested_ms);
        self.events.into_iter().map(move |(after, numbers, later, message)| LogEvent {
            position: Position { time_ms: time + after, number: number + numbers },
            ingested_ms: ingested + later,
            message,
        })
    }

    /// Of all runs of a stream.
    pub fn stream_prefix(stream_id: &str) -> String {
        key(&[stream_id, ""])
    }

    pub fn run_prefix(stream_id: &str, run: usize) -> String {
        key(&[stream_id, &run.to_string(), ""])
    }

    /// Before every segment that begins at this time or later, after every one that begins earlier.
    pub fn time_key(stream_id: &str, run: usize, time_ms: i64) -> String {
        key(&[stream_id, &run.to_string(), &format!("{time_ms:020}")])
    }
}

impl Document for Segment {
    const KIND: &'static str = "logs/segment";

    fn key(&self) -> String {
        let (run, time, number) = (self.run.to_string(), self.first_ms, self.first_number);
        key(&[&self.stream_id, &run, &format!("{time:020}"), &format!("{number:020}")])
    }
}
