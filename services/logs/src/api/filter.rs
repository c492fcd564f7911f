//! FilterLogEvents.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>.
//!
//! The events of all selected streams, in the order of time, then of the streams' names. A stream is
//! opened when the order comes to its first event, so a group of many streams that followed one another
//! costs what is read, not what is there.

use super::get::{MAX_EVENTS, MAX_PAGE_BYTES};
use super::names::GroupRef;
use super::token;
use crate::LogsService;
use crate::pattern::{Pattern, PatternError};
use crate::reader::{Direction, StreamReader, Window};
use crate::store::{Group, LogEvent, Position, Stream};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Call};
use towpath_api_logs::*;
use towpath_store::{Order, Store, StoreError};

/// What one request looks at before it answers with what it found and a token.
const MAX_SCANNED_BYTES: i64 = 64 << 20;
/// Events of streams that overlap in time and wait in memory.
const MAX_BUFFERED_BYTES: i64 = 256 << 20;

pub(super) async fn filter(
    service: &LogsService,
    call: &Call,
    input: FilterLogEventsInput,
) -> Result<FilterLogEventsOutput, ApiError> {
    let (name, identifier) = (input.log_group_name.as_deref(), input.log_group_identifier.as_deref());
    let name = GroupRef::named_or_identified(call, name, identifier)?;
    name.authorize(call, "logs:FilterLogEvents")?;
    if input.unmask == Some(true) {
        name.authorize(call, "logs:Unmask")?;
    }
    let pattern = pattern(input.filter_pattern.as_deref())?;
    let group = service.group(&name).await?;
    let cutoff_ms = group.cutoff_ms(service.store.wall());
    let window = Window {
        low: Position::at(input.start_time.unwrap_or(0).max(cutoff_ms)),
        // Unlike GetLogEvents, the end belongs to the range.
        high: Position::at(input.end_time.unwrap_or(i64::MAX).saturating_add(1)),
    };
    let direction = match input.start_from_head {
        Some(false) => Direction::Backward,
        _ => Direction::Forward,
    };
    let after = input.next_token.as_deref().map(Place::parse).transpose()?;
    let streams = select(service, &group, &input, window).await?;
    let mut merge = Merge::new(streams, window, direction, after);
    let limit = input.limit.unwrap_or(MAX_EVENTS).clamp(1, MAX_EVENTS) as usize;
    let (mut found, mut page_bytes, mut scanned_bytes, mut last) = (Vec::new(), 0, 0, None);
    let next = loop {
        if found.len() == limit || scanned_bytes > MAX_SCANNED_BYTES {
            break last;
        }
        let Some((stream, event)) = merge.next(&service.store).await? else { break None };
        let size_bytes = event.size_bytes();
        scanned_bytes += size_bytes;
        let place = Place { position: event.position, stream };
        if pattern.as_ref().is_none_or(|pattern| pattern.matches(&event.message)) {
            if page_bytes + size_bytes > MAX_PAGE_BYTES && !found.is_empty() {
                break last;
            }
            page_bytes += size_bytes;
            found.push(render(&place.stream, event));
        }
        last = Some(place);
    };
    Ok(FilterLogEventsOutput {
        events: Some(found),
        next_token: next.map(|place| place.render()),
        searched_log_streams: Some(Vec::new()),
    })
}

fn pattern(text: Option<&str>) -> Result<Option<Pattern>, ApiError> {
    match text.filter(|text| !text.trim().is_empty()).map(Pattern::parse).transpose() {
        Ok(pattern) => Ok(pattern),
        Err(PatternError::Unsupported(what)) => Err(ApiError::not_implemented(what)),
        Err(error) => Err(errors::invalid_parameter_exception(error.to_string())),
    }
}

async fn select(
    service: &LogsService,
    group: &Group,
    input: &FilterLogEventsInput,
    window: Window,
) -> Result<Vec<Stream>, ApiError> {
    let within = |stream: &Stream| {
        stream.first_event_ms.is_some_and(|first| first <= window.high.time_ms)
            && stream.last_event_ms.is_some_and(|last| last >= window.low.time_ms)
    };
    let mut streams = Vec::new();
    if let Some(names) = &input.log_stream_names {
        if input.log_stream_name_prefix.is_some() {
            return Err(errors::invalid_parameter_exception(
                "logStreamNames and logStreamNamePrefix are mutually exclusive.",
            ));
        }
        let names: std::collections::BTreeSet<&String> = names.iter().collect();
        for name in names {
            streams.push(service.stream(group, name).await?.into_doc());
        }
        streams.retain(within);
        return Ok(streams);
    }
    let prefix = Stream::prefix_of(&group.id, input.log_stream_name_prefix.as_deref().unwrap_or_default());
    let mut after = None;
    loop {
        let page = service.store.list::<Stream>(&prefix, after.as_deref(), 1000, Order::Ascending).await?;
        streams.extend(page.items.into_iter().map(|stream| stream.into_doc()).filter(within));
        after = page.next;
        if after.is_none() {
            return Ok(streams);
        }
    }
}

/// An event's place in the whole group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    position: Position,
    stream: String,
}

impl Place {
    fn render(&self) -> String {
        token::encode(&format!("{}/{}/{}", self.position.time_ms, self.position.number, self.stream))
    }

    fn parse(token: &str) -> Result<Place, ApiError> {
        let text = token::decode(token)?;
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or_else(token::invalid);
        let number =
            |text: &str| text.parse::<i64>().ok().filter(|number| *number >= 0).ok_or_else(token::invalid);
        let position = Position { time_ms: number(next()?)?, number: number(next()?)? };
        Ok(Place { position, stream: next()?.to_owned() })
    }

    /// What of `stream` comes after this place, in the given direction.
    fn rest(&self, stream: &str, window: Window, direction: Direction) -> Window {
        let time = Position::at(self.position.time_ms);
        let next_time = Position::at(self.position.time_ms.saturating_add(1));
        let order = stream.cmp(&self.stream);
        match direction {
            Direction::Forward => {
                let low = match order {
                    std::cmp::Ordering::Less => next_time,
                    std::cmp::Ordering::Equal => {
                        Position { number: self.position.number + 1, ..self.position }
                    }
                    std::cmp::Ordering::Greater => time,
                };
                Window { low: window.low.max(low), ..window }
            }
            Direction::Backward => {
                let high = match order {
                    std::cmp::Ordering::Less => next_time,
                    std::cmp::Ordering::Equal => self.position,
                    std::cmp::Ordering::Greater => time,
                };
                Window { high: window.high.min(high), ..window }
            }
        }
    }
}

/// Streams in the order of their next events. The key is (time, name); a stream that is not open yet
/// stands where its first event could be at the earliest.
struct Merge {
    sources: BTreeMap<(i64, String), Source>,
    direction: Direction,
    buffered_bytes: i64,
}

enum Source {
    Closed { stream: Box<Stream>, window: Window },
    Open(StreamReader),
}

impl Merge {
    fn new(streams: Vec<Stream>, window: Window, direction: Direction, after: Option<Place>) -> Merge {
        let mut sources = BTreeMap::new();
        for stream in streams {
            let window = match &after {
                Some(place) => place.rest(&stream.name, window, direction),
                None => window,
            };
            let (first, last) = (stream.first_event_ms.unwrap_or(0), stream.last_event_ms.unwrap_or(0));
            let time_ms = match direction {
                Direction::Forward => window.low.time_ms.max(first),
                Direction::Backward => window.high.time_ms.min(last),
            };
            if !window.is_empty() {
                let name = stream.name.clone();
                sources.insert((time_ms, name), Source::Closed { stream: Box::new(stream), window });
            }
        }
        Merge { sources, direction, buffered_bytes: 0 }
    }

    async fn next(&mut self, store: &Store) -> Result<Option<(String, LogEvent)>, ApiError> {
        loop {
            let next = match self.direction {
                Direction::Forward => self.sources.pop_first(),
                Direction::Backward => self.sources.pop_last(),
            };
            let Some(((_, name), source)) = next else { return Ok(None) };
            match source {
                Source::Closed { stream, window } => {
                    self.put_back(store, name, StreamReader::new(&stream, window, self.direction)).await?;
                }
                Source::Open(mut reader) => {
                    self.buffered_bytes -= reader.buffered_bytes();
                    let event = reader.next(store).await?;
                    self.put_back(store, name.clone(), reader).await?;
                    if let Some(event) = event {
                        return Ok(Some((name, event)));
                    }
                }
            }
            if self.buffered_bytes > MAX_BUFFERED_BYTES {
                return Err(errors::invalid_parameter_exception(
                    "Too many log streams have events at the same time. Name streams, or narrow the time range.",
                ));
            }
        }
    }

    async fn put_back(
        &mut self,
        store: &Store,
        name: String,
        mut reader: StreamReader,
    ) -> Result<(), StoreError> {
        if let Some(position) = reader.peek(store).await? {
            self.buffered_bytes += reader.buffered_bytes();
            self.sources.insert((position.time_ms, name), Source::Open(reader));
        }
        Ok(())
    }
}

fn render(stream: &str, event: LogEvent) -> FilteredLogEvent {
    FilteredLogEvent {
        event_id: Some(event_id(stream, event.position)),
        ingestion_time: Some(event.ingested_ms),
        log_stream_name: Some(stream.to_owned()),
        message: Some(event.message),
        timestamp: Some(event.position.time_ms),
    }
}

/// 56 digits that differ for the events of a group: the time, the stream's name hashed (FNV-1a) and the
/// number.
fn event_id(stream: &str, position: Position) -> String {
    let hash = stream.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:016}{hash:020}{:020}", position.time_ms, position.number)
}
