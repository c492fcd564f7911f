//! Listing what happened.

use crate::{Events, Pattern};
use serde_json::{Value, json};
use towpath_api::{ApiError, Call, Event};
use towpath_store::StoreError;

/// Events that one request looks at; it answers with what it found and where to go on.
const MAX_SCANNED: usize = 20_000;
const BATCH: usize = 500;
/// Events in one answer.
pub(crate) const MAX_LISTED: usize = 1000;

/// An event and its place in the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub sequence: u64,
    pub event: Event,
}

/// A page of the record, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub events: Vec<Recorded>,
    /// Pass it as `after_sequence`: now for the rest, later for what is new.
    pub next_sequence: u64,
    /// Whether everything that is recorded so far was looked at.
    pub complete: bool,
}

impl Listing {
    /// `{"events": [{"sequence": n, "event": {…}}], "nextSequence": n, "complete": bool}`.
    pub fn to_json(&self) -> Value {
        let event =
            |recorded: &Recorded| json!({"sequence": recorded.sequence, "event": recorded.event.to_json()});
        json!({
            "events": self.events.iter().map(event).collect::<Vec<_>>(),
            "nextSequence": self.next_sequence,
            "complete": self.complete,
        })
    }
}

impl Events {
    /// Events after `after_sequence` that match, at most `limit` (and never more than 1000).
    pub async fn recent(
        &self,
        after_sequence: u64,
        pattern: Option<&Pattern>,
        limit: usize,
    ) -> Result<Listing, StoreError> {
        let limit = limit.clamp(1, MAX_LISTED);
        let mut listing = Listing { next_sequence: after_sequence, ..Listing::default() };
        let mut scanned = 0;
        while scanned < MAX_SCANNED {
            let batch = self.store.events_after(listing.next_sequence, BATCH).await?;
            let end = batch.len() < BATCH;
            scanned += batch.len();
            for (sequence, event) in batch {
                if listing.events.len() == limit {
                    return Ok(listing);
                }
                listing.next_sequence = sequence;
                if pattern.is_none_or(|pattern| pattern.matches(&event.to_json())) {
                    listing.events.push(Recorded { sequence, event });
                }
            }
            if end {
                listing.complete = true;
                return Ok(listing);
            }
        }
        Ok(listing)
    }

    /// The same for a caller of the API, who needs `towpath:ListEvents` on the default event bus.
    pub async fn list(
        &self,
        call: &Call,
        after_sequence: u64,
        pattern: Option<&str>,
        limit: usize,
    ) -> Result<Listing, ApiError> {
        let bus = format!("arn:aws:events:{}:{}:event-bus/default", call.region, call.account);
        call.authorize("towpath:ListEvents", &bus, &[])?;
        let pattern = pattern
            .map(Pattern::parse)
            .transpose()
            .map_err(|error| ApiError::client("InvalidEventPatternException", error.to_string()))?;
        Ok(self.recent(after_sequence, pattern.as_ref(), limit).await?)
    }
}
