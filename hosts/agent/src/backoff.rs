//! How long to wait before the next attempt: doubling, with jitter, and bounded.

use crate::client::CallError;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// A server that restarts must be found again within a second.
const MAX_REFUSED: Duration = Duration::from_millis(700);
const MAX_OTHER: Duration = Duration::from_secs(8);

#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    pub fn succeeded(&mut self) {
        self.attempts = 0;
    }

    pub fn next(&mut self, error: &CallError) -> Duration {
        let most = if matches!(error, CallError::Refused(_)) { MAX_REFUSED } else { MAX_OTHER };
        let full = FIRST.saturating_mul(1 << self.attempts.min(16)).min(most);
        self.attempts = self.attempts.saturating_add(1);
        // Half of it at least, so that a fleet neither hammers nor marches in step.
        let half = full / 2;
        half + half.mul_f64(f64::from(random_byte()) / 255.0)
    }
}

fn random_byte() -> u8 {
    let mut byte = [128u8];
    getrandom::fill(&mut byte).ok();
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_and_is_bounded() {
        let mut backoff = Backoff::default();
        let refused = CallError::Refused(String::new());
        for attempt in 0..100 {
            let wait = backoff.next(&refused);
            assert!(wait <= MAX_REFUSED && wait >= FIRST / 2, "{attempt}: {wait:?}");
        }
        assert!(backoff.next(&CallError::Network(String::new())) >= MAX_OTHER / 2);
        backoff.succeeded();
        assert!(backoff.next(&refused) <= FIRST);
    }
}
