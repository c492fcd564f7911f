//! Where a batch goes: into a run in which it overlaps nothing.
//!
//! A batch that begins after everything in some run is appended to it without looking at any segment.
//! Else it goes into a gap of a run, else into a new run; and where eight runs overlap it, it is merged
//! with the segments of the run in which it overlaps fewest.

use crate::store::{LogEvent, Segment, Stream};
use towpath_store::{Order, Store, StoreError, Txn, Versioned};

const MAX_RUNS: usize = 8;
/// Segments that one batch may be merged with.
const MAX_MERGED: usize = 64;
const MERGED_SEGMENT_BYTES: i64 = 1 << 20;

/// The batch lies across more segments than one commit may rewrite.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlacementError {
    #[error("the batch overlaps too many others")]
    Crowded,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds the segments to `txn` and notes the runs in `stream`.
pub(crate) async fn place(
    store: &Store,
    stream: &mut Stream,
    events: Vec<LogEvent>,
    txn: &mut Txn,
) -> Result<(), PlacementError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
    let (first_ms, last_ms) = (first.position.time_ms, last.position.time_ms);
    let mut run = stream.runs.iter().position(|end_ms| *end_ms <= first_ms);
    if run.is_none() {
        for candidate in 0..stream.runs.len() {
            if overlapping(store, stream, candidate, first_ms, last_ms, 1).await?.is_empty() {
                run = Some(candidate);
                break;
            }
        }
    }
    if run.is_none() && stream.runs.len() < MAX_RUNS {
        stream.runs.push(0);
        run = Some(stream.runs.len() - 1);
    }
    let (run, segments) = match run {
        Some(run) => (run, Vec::from_iter(Segment::new(&stream.id, run, events))),
        None => merge(store, stream, events, (first_ms, last_ms), txn).await?,
    };
    for segment in &segments {
        txn.create(segment);
    }
    stream.runs[run] = stream.runs[run].max(last_ms);
    Ok(())
}

/// Segments of `run` that the time range touches, newest first, at most `limit`. One that ends exactly
/// where the batch begins is no overlap: the batch's numbers are higher.
async fn overlapping(
    store: &Store,
    stream: &Stream,
    run: usize,
    first_ms: i64,
    last_ms: i64,
    limit: usize,
) -> Result<Vec<Versioned<Segment>>, StoreError> {
    let prefix = Segment::run_prefix(&stream.id, run);
    let mut before = Segment::time_key(&stream.id, run, last_ms.saturating_add(1));
    let mut found = Vec::new();
    while found.len() < limit {
        let page = store.list::<Segment>(&prefix, Some(&before), 4, Order::Descending).await?;
        for segment in page.items {
            if segment.last_ms <= first_ms {
                return Ok(found);
            }
            found.push(segment);
        }
        match page.next {
            Some(next) => before = next,
            None => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}

async fn merge(
    store: &Store,
    stream: &Stream,
    mut events: Vec<LogEvent>,
    (first_ms, last_ms): (i64, i64),
    txn: &mut Txn,
) -> Result<(usize, Vec<Segment>), PlacementError> {
    let mut best: Option<(usize, Vec<Versioned<Segment>>)> = None;
    for run in 0..stream.runs.len() {
        let limit = best.as_ref().map_or(MAX_MERGED + 1, |(_, segments)| segments.len());
        let segments = overlapping(store, stream, run, first_ms, last_ms, limit).await?;
        if segments.len() < limit {
            best = Some((run, segments));
        }
    }
    let (run, segments) = best.ok_or(PlacementError::Crowded)?;
    for segment in segments {
        txn.delete(&segment);
        events.extend(segment.into_doc().into_events());
    }
    events.sort_by_key(|event| event.position);
    Ok((run, split(&stream.id, run, events)))
}

/// Segments of at most [`MERGED_SEGMENT_BYTES`].
fn split(stream_id: &str, run: usize, events: Vec<LogEvent>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for event in events {
        if bytes + event.size_bytes() > MERGED_SEGMENT_BYTES && !part.is_empty() {
            segments.extend(Segment::new(stream_id, run, std::mem::take(&mut part)));
            bytes = 0;
        }
        bytes += event.size_bytes();
        part.push(event);
    }
    segments.extend(Segment::new(stream_id, run, part));
    segments
}
