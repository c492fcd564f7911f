//! GetLogEvents.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>.

use super::names::GroupRef;
use super::required;
use super::token::PageToken;
use crate::LogsService;
use crate::reader::{Direction, StreamReader, Window};
use crate::store::{LogEvent, Position, Stream};
use towpath_api::{ApiError, Call};
use towpath_api_logs::*;
use towpath_store::StoreError;

pub(super) const MAX_EVENTS: i64 = 10_000;
/// Events in one answer, counted as PutLogEvents counts them.
pub(super) const MAX_PAGE_BYTES: i64 = 1 << 20;

pub(super) async fn get(
    service: &LogsService,
    call: &Call,
    input: GetLogEventsInput,
) -> Result<GetLogEventsOutput, ApiError> {
    let (name, identifier) = (input.log_group_name.as_deref(), input.log_group_identifier.as_deref());
    let name = GroupRef::named_or_identified(call, name, identifier)?;
    let stream_name = required(input.log_stream_name, "logStreamName")?;
    name.authorize_stream(call, "logs:GetLogEvents", &stream_name)?;
    if input.unmask == Some(true) {
        name.authorize(call, "logs:Unmask")?;
    }
    let token = input.next_token.as_deref().map(PageToken::parse).transpose()?;
    let group = service.group(&name).await?;
    let stream = service.stream(&group, &stream_name).await?;
    let start_ms = input.start_time.unwrap_or(0).max(group.cutoff_ms(service.store.wall()));
    let whole =
        Window { low: Position::at(start_ms), high: Position::at(input.end_time.unwrap_or(i64::MAX)) };
    let limit = input.limit.unwrap_or(MAX_EVENTS).clamp(1, MAX_EVENTS) as usize;
    let (direction, window, border) = match token {
        Some(PageToken::Forward(border)) => {
            (Direction::Forward, Window { low: whole.low.max(border), ..whole }, border)
        }
        Some(PageToken::Backward(border)) => {
            (Direction::Backward, Window { high: whole.high.min(border), ..whole }, border)
        }
        None if input.start_from_head == Some(true) => (Direction::Forward, whole, whole.low),
        None => (Direction::Backward, whole, whole.low),
    };
    let mut events = read(service, &stream, window, direction, limit).await?;
    if direction == Direction::Backward {
        events.reverse();
    }
    // Where there is nothing more, the border stays where it was: the client gets the token that it sent.
    let after = |event: &LogEvent| Position { number: event.position.number + 1, ..event.position };
    let forward = events.last().map_or(border, after);
    let backward = events.first().map_or(border, |event| event.position);
    Ok(GetLogEventsOutput {
        events: Some(events.into_iter().map(render).collect()),
        next_forward_token: Some(PageToken::Forward(forward).render()),
        next_backward_token: Some(PageToken::Backward(backward).render()),
    })
}

async fn read(
    service: &LogsService,
    stream: &Stream,
    window: Window,
    direction: Direction,
    limit: usize,
) -> Result<Vec<LogEvent>, StoreError> {
    let mut reader = StreamReader::new(stream, window, direction);
    let (mut events, mut bytes) = (Vec::new(), 0);
    while events.len() < limit {
        let Some(event) = reader.next(&service.store).await? else { break };
        bytes += event.size_bytes();
        if bytes > MAX_PAGE_BYTES && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    Ok(events)
}

fn render(event: LogEvent) -> OutputLogEvent {
    OutputLogEvent {
        ingestion_time: Some(event.ingested_ms),
        message: Some(event.message),
        timestamp: Some(event.position.time_ms),
    }
}
