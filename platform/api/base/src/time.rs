//! Time in milliseconds, and the clock that everything asks for it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const EPOCH: Timestamp = Timestamp(0);

    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Rounds to the nearest millisecond: `.123` must not come back as `.122`.
    pub fn from_seconds(seconds: f64) -> Self {
        Timestamp((seconds * 1000.0).round() as i64)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    pub const fn plus_millis(self, millis: i64) -> Self {
        Timestamp(self.0.saturating_add(millis))
    }

    /// `self - earlier`, never negative: a clock that jumps back must not make a duration negative.
    pub const fn since_millis(self, earlier: Timestamp) -> i64 {
        let elapsed = self.0.saturating_sub(earlier.0);
        if elapsed < 0 { 0 } else { elapsed }
    }

    fn instant(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// `2026-11-20T10:11:12Z`, with milliseconds where there are any.
    pub fn to_iso8601(self) -> String {
        let format = if self.0 % 1000 == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%3fZ" };
        self.instant().strftime(format).to_string()
    }

    /// `Fri, 20 Nov 2026 10:11:12 GMT`, as HTTP headers have it.
    pub fn to_http_date(self) -> String {
        self.instant().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Formats with `strftime` directives, in UTC.
    pub fn format(self, directives: &str) -> String {
        self.instant().strftime(directives).to_string()
    }

    /// Parses RFC 3339, with any offset.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|instant| Timestamp(instant.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.to_iso8601())
    }
}

/// Where the time comes from. Injected everywhere, so that a test can hold or move it.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(elapsed.as_millis() as i64)
    }
}
