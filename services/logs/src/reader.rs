//! Reading a stream in the order of positions, forwards or backwards, a few segments at a time.

use crate::store::{LogEvent, Position, Segment, Stream};
use std::collections::VecDeque;
use towpath_store::{Order, Store, StoreError};

/// What one look at the segments should bring into memory.
const PAGE_BYTES: usize = 1 << 20;
const FIRST_PAGE: usize = 2;
const MAX_PAGE: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// The positions that are read: `low` is the first, `high` is the first beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub low: Position,
    pub high: Position,
}

impl Window {
    pub fn is_empty(&self) -> bool {
        self.low >= self.high
    }
}

/// A stream's events within a window: its runs, merged.
pub(crate) struct StreamReader {
    runs: Vec<RunReader>,
    direction: Direction,
}

impl StreamReader {
    pub fn new(stream: &Stream, window: Window, direction: Direction) -> StreamReader {
        let run = |number| RunReader::new(&stream.id, number, window, direction);
        let count = if window.is_empty() { 0 } else { stream.runs.len() };
        StreamReader { runs: (0..count).map(run).collect(), direction }
    }

    pub async fn next(&mut self, store: &Store) -> Result<Option<LogEvent>, StoreError> {
        for run in &mut self.runs {
            run.fill(store).await?;
        }
        let heads = self.runs.iter_mut().filter(|run| !run.buffer.is_empty());
        let head = |run: &&mut RunReader| run.buffer.front().map(|event| event.position);
        let next = match self.direction {
            Direction::Forward => heads.min_by_key(head),
            Direction::Backward => heads.max_by_key(head),
        };
        Ok(next.and_then(RunReader::pop))
    }

    /// The position of the event that [`next`](Self::next) will give.
    pub async fn peek(&mut self, store: &Store) -> Result<Option<Position>, StoreError> {
        for run in &mut self.runs {
            run.fill(store).await?;
        }
        let heads = self.runs.iter().filter_map(|run| run.buffer.front().map(|event| event.position));
        Ok(match self.direction {
            Direction::Forward => heads.min(),
            Direction::Backward => heads.max(),
        })
    }

    /// Bytes of events that wait in memory.
    pub fn buffered_bytes(&self) -> i64 {
        self.runs.iter().map(|run| run.buffered_bytes).sum()
    }
}

struct RunReader {
    stream_id: String,
    run: usize,
    window: Window,
    direction: Direction,
    buffer: VecDeque<LogEvent>,
    buffered_bytes: i64,
    cursor: Cursor,
    page: usize,
}

enum Cursor {
    /// Nothing was read yet.
    Fresh,
    /// The key after which to go on.
    After(String),
    End,
}

impl RunReader {
    fn new(stream_id: &str, run: usize, window: Window, direction: Direction) -> RunReader {
        RunReader {
            stream_id: stream_id.to_owned(),
            run,
            window,
            direction,
            buffer: VecDeque::new(),
            buffered_bytes: 0,
            cursor: Cursor::Fresh,
            page: FIRST_PAGE,
        }
    }

    fn pop(&mut self) -> Option<LogEvent> {
        let event = self.buffer.pop_front()?;
        self.buffered_bytes -= event.size_bytes();
        Some(event)
    }

    async fn fill(&mut self, store: &Store) -> Result<(), StoreError> {
        while self.buffer.is_empty() {
            match std::mem::replace(&mut self.cursor, Cursor::End) {
                Cursor::End => return Ok(()),
                Cursor::Fresh => self.seek(store).await?,
                Cursor::After(key) => self.turn(store, Some(key)).await?,
            }
        }
        Ok(())
    }

    /// Backwards, reading starts with the last segment that begins within the window; forwards, with
    /// the last that begins before it, for its end may reach into the window.
    async fn seek(&mut self, store: &Store) -> Result<(), StoreError> {
        let key_after =
            |time_ms: i64| Segment::time_key(&self.stream_id, self.run, time_ms.saturating_add(1));
        match self.direction {
            Direction::Backward => {
                let key = key_after(self.window.high.time_ms);
                self.turn(store, Some(key)).await
            }
            Direction::Forward if self.window.low == Position::START => self.turn(store, None).await,
            Direction::Forward => {
                let prefix = Segment::run_prefix(&self.stream_id, self.run);
                let key = key_after(self.window.low.time_ms);
                let page = store.list::<Segment>(&prefix, Some(&key), 1, Order::Descending).await?;
                let mut begins = page.items.first().map_or(0, |segment| segment.first_ms);
                if begins == self.window.low.time_ms {
                    // Others may begin at this very time, and one before them may end at it.
                    let key = Segment::time_key(&self.stream_id, self.run, begins);
                    let earlier = store.list::<Segment>(&prefix, Some(&key), 1, Order::Descending).await?;
                    begins = earlier.items.first().map_or(begins, |segment| segment.first_ms);
                }
                let from = Segment::time_key(&self.stream_id, self.run, begins);
                self.turn(store, Some(from)).await
            }
        }
    }

    /// Reads the next page of segments into the buffer.
    async fn turn(&mut self, store: &Store, after: Option<String>) -> Result<(), StoreError> {
        let prefix = Segment::run_prefix(&self.stream_id, self.run);
        let order = match self.direction {
            Direction::Forward => Order::Ascending,
            Direction::Backward => Order::Descending,
        };
        let page = store.list::<Segment>(&prefix, after.as_deref(), self.page, order).await?;
        let (count, mut bytes) = (page.items.len(), 0);
        if let Some(next) = page.next {
            self.cursor = Cursor::After(next);
        }
        for segment in page.items {
            bytes += segment.bytes as usize;
            let over = match self.direction {
                Direction::Forward => segment.first_ms > self.window.high.time_ms,
                Direction::Backward => segment.last_ms < self.window.low.time_ms,
            };
            if over {
                self.cursor = Cursor::End;
                break;
            }
            let (low, high) = (self.window.low, self.window.high);
            let within = |event: &LogEvent| event.position >= low && event.position < high;
            let events = segment.into_doc().into_events();
            match self.direction {
                Direction::Forward => self.buffer.extend(events.filter(within)),
                Direction::Backward => self.buffer.extend(events.rev().filter(within)),
            }
        }
        self.buffered_bytes = self.buffer.iter().map(LogEvent::size_bytes).sum();
        self.page = (PAGE_BYTES / (bytes / count.max(1)).max(1)).clamp(1, (self.page * 4).min(MAX_PAGE));
        Ok(())
    }
}
