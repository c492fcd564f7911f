//! Failing for now: what a handler says when its work could not be done, and when it is tried again.

use std::error::Error;
use std::fmt;

/// The work failed and shall be tried again. Any error becomes one with `?`.
pub struct Retry {
    /// `None`: the worker's [`Backoff`] decides.
    pub after_ms: Option<i64>,
    pub error: Box<dyn Error + Send + Sync>,
}

impl Retry {
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Retry {
        Retry { after_ms: None, error: error.into() }
    }

    pub fn after(after_ms: i64, error: impl Into<Box<dyn Error + Send + Sync>>) -> Retry {
        Retry { after_ms: Some(after_ms), error: error.into() }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Retry {
    fn from(error: E) -> Self {
        Retry::new(error)
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "Retry after {:?} ms: {}", self.after_ms, Causes(self.error.as_ref()))
    }
}

/// Waiting times that double from `first_ms` up to `cap_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first_ms: i64,
    pub cap_ms: i64,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first_ms: 500, cap_ms: 5 * 60_000 }
    }
}

impl Backoff {
    /// How long to wait after the `attempt`th failure (the first is 1).
    pub fn delay_ms(&self, attempt: u32) -> i64 {
        let doublings = attempt.saturating_sub(1).min(40);
        self.first_ms.max(1).saturating_mul(1 << doublings).min(self.cap_ms)
    }
}

/// An error with everything that caused it, on one line.
pub(crate) struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut shown = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause in their own text.
            if !shown.contains(&text) {
                write!(formatter, ": {text}")?;
            }
            shown = text;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_double_up_to_the_cap() {
        let backoff = Backoff { first_ms: 100, cap_ms: 1000 };
        let delays: Vec<i64> = (1..=6).map(|attempt| backoff.delay_ms(attempt)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay_ms(u32::MAX), 1000);
    }
}
