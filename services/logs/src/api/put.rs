//! PutLogEvents.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html>.

use super::names::GroupRef;
use super::{required, retry};
use crate::LogsService;
use crate::placement::{PlacementError, place};
use crate::store::{LogEvent, OVERHEAD_BYTES, Position, Stream, Writer};
use std::ops::Range;
use towpath_api::log_batches::LogBatch;
use towpath_api::{ApiError, Call};
use towpath_api_logs::*;
use towpath_store::Txn;

const TOKEN_DIGITS: usize = 56;
const MAX_EVENTS: usize = 10_000;
const MAX_BATCH_BYTES: i64 = 1_048_576;
const MAX_EVENT_BYTES: usize = 1 << 20;
const HOUR_MS: i64 = 3600 * 1000;
const TOO_NEW_MS: i64 = 2 * HOUR_MS;
const TOO_OLD_MS: i64 = 14 * 24 * HOUR_MS;
const MAX_SPAN_MS: i64 = 24 * HOUR_MS;
/// Attempts at a build write one after the other; two of them at once are the exception.
const MAX_WRITERS: usize = 8;

pub(super) async fn put(
    service: &LogsService,
    call: &Call,
    input: PutLogEventsInput,
) -> Result<PutLogEventsOutput, ApiError> {
    let name = GroupRef::named(call, &required(input.log_group_name, "logGroupName")?)?;
    let stream_name = required(input.log_stream_name, "logStreamName")?;
    name.authorize_stream(call, "logs:PutLogEvents", &stream_name)?;
    let events = required(input.log_events, "logEvents")?
        .into_iter()
        .map(|event| Ok((required(event.timestamp, "timestamp")?, required(event.message, "message")?)));
    let batch = check(events.collect::<Result<_, ApiError>>()?)?;
    let stored = store(service, &name, &stream_name, &batch, |_| Ok(true)).await?;
    Ok(PutLogEventsOutput {
        next_sequence_token: Some(sequence_token(&stored.stream)),
        // Entities are not kept: this says so, and the events are stored all the same.
        rejected_entity_info: input.entity.map(|_| RejectedEntityInfo {
            error_type: Some(entity_rejection_error_type::UNSUPPORTED_LOG_GROUP_TYPE.into()),
        }),
        rejected_log_events_info: stored.rejected,
    })
}

/// The same for a writer that numbers its batches.
pub(super) async fn put_batch(service: &LogsService, call: &Call, batch: LogBatch) -> Result<(), ApiError> {
    let name = GroupRef::named(call, &batch.group)?;
    name.authorize_stream(call, "logs:PutLogEvents", &batch.stream)?;
    let LogBatch { stream, writer, number, limit_bytes, events, .. } = batch;
    let events = check(events)?;
    let bytes = events.iter().map(|(_, message)| (message.len() as i64 + OVERHEAD_BYTES) as u64).sum();
    let account = |stream: &mut Stream| account_for(stream, (&writer, number), bytes, limit_bytes);
    store(service, &name, &stream, &events, account).await.map(drop)
}

/// Whether the batch is new; the writer's account with it.
fn account_for(
    stream: &mut Stream,
    (id, number): (&str, Option<u64>),
    bytes: u64,
    limit_bytes: u64,
) -> Result<bool, ApiError> {
    let known = stream.writers.iter().position(|writer| writer.id == id);
    let before = known.map(|place| stream.writers.remove(place));
    let (last, so_far) = before.map_or((0, 0), |writer| (writer.number, writer.bytes));
    let total = so_far.saturating_add(bytes);
    if number.is_some_and(|number| number <= last) {
        return Ok(false);
    }
    if total > limit_bytes {
        let message = format!("This build's log is full: it may have {limit_bytes} bytes.");
        return Err(ApiError::client("LogFullException", message));
    }
    stream.writers.push(Writer { id: id.to_owned(), number: number.unwrap_or(last), bytes: total });
    let excess = stream.writers.len().saturating_sub(MAX_WRITERS);
    stream.writers.drain(..excess);
    Ok(true)
}

struct Stored {
    stream: Stream,
    rejected: Option<RejectedLogEventsInfo>,
}

/// Stores what is neither too old nor too new, where `account` says that the batch is new to the stream.
async fn store(
    service: &LogsService,
    name: &GroupRef,
    stream_name: &str,
    batch: &[(i64, String)],
    account: impl Fn(&mut Stream) -> Result<bool, ApiError>,
) -> Result<Stored, ApiError> {
    let times: Vec<i64> = batch.iter().map(|(time, _)| *time).collect();
    let mut round = 0;
    loop {
        round += 1;
        let group = service.group(name).await?;
        let old = service.stream(&group, stream_name).await?;
        let now = service.store.wall();
        let (accepted, rejected) = sift(&times, now.as_millis(), group.cutoff_ms(now));
        check_span(&times[accepted.clone()])?;
        let mut stream = old.doc.clone();
        if !account(&mut stream)? {
            return Ok(Stored { stream, rejected });
        }
        let mut txn = Txn::new();
        txn.expect(&group);
        let events = take_in(&mut stream, &batch[accepted], now.as_millis());
        if !events.is_empty() {
            place(&service.store, &mut stream, events, &mut txn).await.map_err(|error| match error {
                PlacementError::Store(error) => error.into(),
                PlacementError::Crowded => errors::service_unavailable_exception(
                    "The batch overlaps too many others in time. Send its events in smaller batches.",
                ),
            })?;
            txn.replace(&old, &stream);
            match service.store.commit(txn).await {
                Err(error) if retry(&error, round) => continue,
                result => result?,
            }
        }
        return Ok(Stored { stream, rejected });
    }
}

/// Tokens are given out and ignored, as AWS does since 2023.
pub(super) fn sequence_token(stream: &Stream) -> String {
    // Formatting pads character by character, 50 times a page.
    let number = stream.next_number.to_string();
    "0".repeat(TOKEN_DIGITS.saturating_sub(number.len())) + &number
}

/// What makes the whole batch wrong.
fn check(batch: Vec<(i64, String)>) -> Result<Vec<(i64, String)>, ApiError> {
    let invalid = |message: String| Err(errors::invalid_parameter_exception(message));
    if batch.is_empty() || batch.len() > MAX_EVENTS {
        return invalid(format!("A batch has between 1 and {MAX_EVENTS} log events, not {}.", batch.len()));
    }
    let mut total_bytes = 0;
    let mut latest = i64::MIN;
    for (time, message) in &batch {
        if message.is_empty() {
            return invalid("Log event message cannot be empty.".into());
        }
        if message.len() > MAX_EVENT_BYTES {
            return invalid(format!(
                "Log event too large: {} bytes exceeds limit of {MAX_EVENT_BYTES}",
                message.len()
            ));
        }
        if latest > *time {
            return invalid(
                "Log events in a single PutLogEvents request must be in chronological order.".into(),
            );
        }
        total_bytes += message.len() as i64 + OVERHEAD_BYTES;
        latest = *time;
    }
    if total_bytes > MAX_BATCH_BYTES {
        return invalid(format!("Upload too large: {total_bytes} bytes exceeds limit of {MAX_BATCH_BYTES}"));
    }
    Ok(batch)
}

/// The events that are neither too old, expired nor too new, and what is said of the others. The times
/// are in order, so the accepted ones are one range.
fn sift(times: &[i64], now_ms: i64, cutoff_ms: i64) -> (Range<usize>, Option<RejectedLogEventsInfo>) {
    let too_old = times.partition_point(|time| *time < now_ms - TOO_OLD_MS);
    let expired = times.partition_point(|time| *time < cutoff_ms);
    let too_new = times.partition_point(|time| *time <= now_ms + TOO_NEW_MS);
    let start = too_old.max(expired);
    let rejected = RejectedLogEventsInfo {
        too_old_log_event_end_index: (too_old > 0).then_some(too_old as i64),
        expired_log_event_end_index: (expired > too_old).then_some(expired as i64),
        too_new_log_event_start_index: (too_new < times.len()).then_some(too_new as i64),
    };
    let any = rejected != RejectedLogEventsInfo::default();
    (start..too_new.max(start), any.then_some(rejected))
}

fn check_span(times: &[i64]) -> Result<(), ApiError> {
    match (times.first(), times.last()) {
        (Some(first), Some(last)) if last - first > MAX_SPAN_MS => Err(errors::invalid_parameter_exception(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        )),
        _ => Ok(()),
    }
}

/// Gives the events their numbers and keeps the stream's account of them.
fn take_in(stream: &mut Stream, batch: &[(i64, String)], now_ms: i64) -> Vec<LogEvent> {
    let mut events = Vec::with_capacity(batch.len());
    for (time_ms, message) in batch {
        let position = Position { time_ms: *time_ms, number: stream.next_number };
        let event = LogEvent { position, ingested_ms: now_ms, message: message.clone() };
        stream.next_number += 1;
        stream.stored_bytes += event.size_bytes();
        stream.first_event_ms = Some(stream.first_event_ms.map_or(*time_ms, |first| first.min(*time_ms)));
        stream.last_event_ms = Some(stream.last_event_ms.map_or(*time_ms, |last| last.max(*time_ms)));
        stream.last_ingestion_ms = Some(now_ms);
        events.push(event);
    }
    events
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;

    #[test]
    fn the_too_old_the_expired_and_the_too_new_are_told_apart() {
        let now = 100 * DAY_MS;
        let times = [now - 20 * DAY_MS, now - 10 * DAY_MS, now - DAY_MS, now, now + TOO_NEW_MS + 1];
        let (accepted, rejected) = sift(&times, now, now - 5 * DAY_MS);
        assert_eq!(accepted, 2..4);
        let rejected = rejected.unwrap();
        assert_eq!(rejected.too_old_log_event_end_index, Some(1));
        assert_eq!(rejected.expired_log_event_end_index, Some(2));
        assert_eq!(rejected.too_new_log_event_start_index, Some(4));
        assert_eq!(sift(&[now], now, 0), (0..1, None));
        let (accepted, rejected) = sift(&[now - 15 * DAY_MS], now, now - 30 * DAY_MS);
        assert!(accepted.is_empty());
        assert_eq!(rejected.unwrap().too_old_log_event_end_index, Some(1));
        let (accepted, _) = sift(&[now + DAY_MS], now, 0);
        assert!(accepted.is_empty());
    }
}
