//! Events in EventBridge's envelope.
//! Shape: <https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html>.

use crate::{Timestamp, id};
use serde::{Deserialize, Serialize};

/// A change of state, as AWS documents it for its service. Written to the outbox in the transaction
/// that makes the change true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    /// `aws.codecommit`.
    pub source: String,
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    pub account: String,
    pub region: String,
    /// Milliseconds in the store; [`Event::to_json`] gives EventBridge's ISO 8601.
    pub time: Timestamp,
    pub resources: Vec<String>,
    pub detail: serde_json::Value,
}

impl Event {
    pub fn new(
        source: &str,
        detail_type: &str,
        (account, region): (&str, &str),
        time: Timestamp,
        resources: Vec<String>,
        detail: serde_json::Value,
    ) -> Self {
        Event {
            id: id::uuid(),
            source: source.into(),
            detail_type: detail_type.into(),
            account: account.into(),
            region: region.into(),
            time,
            resources,
            detail,
        }
    }

    /// The event as a rule's target receives it.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "version": "0",
            "id": self.id,
            "detail-type": self.detail_type,
            "source": self.source,
            "account": self.account,
            "time": Timestamp::from_millis(self.time.as_millis() / 1000 * 1000).to_iso8601(),
            "region": self.region,
            "resources": self.resources,
            "detail": self.detail,
        })
    }
}
