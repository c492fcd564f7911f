//! The time that the store and everything durable lives by: it follows the machine's clock, and never jumps.
//!
//! A clock that is set (by hand, by NTP after a long time without network) would otherwise make every timeout
//! of the days that it skipped expire at once, or keep work that is due now waiting for the days that it was
//! put back. So a jump only changes the speed: this clock gains a second per second until it has caught up, or
//! goes at half speed until it was caught up with. It never goes back.
//!
//! **State**: `clock` in the store's folder, written when a jump is noticed: how far this clock is from the
//! machine's uptime, and the boot that this was measured in. **Crash**: the next process of the same boot goes
//! on from there; after a reboot the machine's clock is believed, but never a time before the last event.
//!
//! What must agree with the rest of the world (signatures, sessions, the times of clients' log events) asks
//! [`crate::Store::wall`].

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use towpath_api::{Clock, SystemClock, Timestamp};

const FILE: &str = "clock";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Steps of this size are followed at once.
const TOLERANCE_US: i64 = 1_000_000;

pub struct SteadyClock {
    state: Mutex<State>,
    file: Option<PathBuf>,
}

/// All in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    shown: i64,
    uptime: i64,
    /// What the machine's clock is expected to be ahead of its uptime; it is off by a jump.
    offset: i64,
}

impl State {
    /// The time to show now, and whether the machine's clock has jumped since the last look.
    fn step(&mut self, wall: i64, uptime: i64) -> bool {
        let elapsed = (uptime - self.uptime).max(0);
        let ahead = wall - (self.shown + elapsed);
        self.shown = match ahead {
            _ if ahead.abs() <= TOLERANCE_US => self.shown.max(wall),
            1.. => self.shown + elapsed + ahead.min(elapsed),
            _ => self.shown + elapsed / 2,
        };
        let jumped = (wall - uptime - self.offset).abs() > TOLERANCE_US;
        (self.uptime, self.offset) = (uptime, wall - uptime);
        jumped
    }
}

impl SteadyClock {
    /// `folder`: where a jump is remembered for the next process.
    pub fn new(folder: Option<&Path>) -> SteadyClock {
        let (wall, uptime) = (wall_us(), uptime_us());
        let file = folder.map(|folder| folder.join(FILE));
        let shown = file.as_deref().and_then(remembered).map_or(wall, |ahead| uptime + ahead);
        SteadyClock { state: Mutex::new(State { shown, uptime, offset: wall - uptime }), file }
    }

    /// From now on no earlier time is shown.
    pub fn not_before(&self, at: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.shown = state.shown.max(at.as_millis().saturating_mul(1000));
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let jumped = state.step(wall_us(), uptime_us());
        let State { shown, uptime, .. } = *state;
        drop(state);
        if jumped {
            tracing::warn!(shown = %Timestamp::from_millis(shown / 1000), "the machine's clock was set");
            if let Some(file) = &self.file {
                remember(file, shown - uptime);
            }
        }
        Timestamp::from_millis(shown / 1000)
    }
}

fn boot() -> String {
    std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

fn remember(file: &Path, ahead: i64) {
    let draft = file.with_extension("draft");
    let written =
        std::fs::write(&draft, format!("{} {ahead}\n", boot())).and_then(|()| std::fs::rename(&draft, file));
    if let Err(error) = written {
        tracing::warn!(%error, "a restart will believe the machine's clock");
    }
}

/// How far the clock was ahead of the uptime in an earlier process of this boot.
fn remembered(file: &Path) -> Option<i64> {
    let text = std::fs::read_to_string(file).ok()?;
    let (of, ahead) = text.trim().split_once(' ')?;
    if of.is_empty() || of != boot() { None } else { ahead.parse().ok() }
}

fn wall_us() -> i64 {
    SystemClock.now().as_millis().saturating_mul(1000)
}

/// Since the boot, suspended time included.
fn uptime_us() -> i64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to `at`, which outlives it.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut at) };
    at.tv_sec.saturating_mul(1_000_000).saturating_add(at.tv_nsec / 1000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;

    fn begun(at: i64) -> State {
        State { shown: at, uptime: 0, offset: at }
    }

    #[test]
    fn it_follows_a_clock_that_does_not_jump() {
        let mut state = begun(DAY);
        for second in 1..100 {
            assert!(!state.step(DAY + second * SECOND + second % 7, second * SECOND));
            assert_eq!(state.shown, DAY + second * SECOND + second % 7);
        }
    }

    #[test]
    fn a_jump_forward_is_caught_up_with_at_double_speed() {
        let mut state = begun(DAY);
        assert!(state.step(2 * DAY, SECOND));
        assert_eq!(state.shown, DAY + 2 * SECOND);
        assert!(!state.step(2 * DAY + 9 * SECOND, 10 * SECOND));
        assert_eq!(state.shown, DAY + 20 * SECOND);
        state.step(3 * DAY, DAY + SECOND);
        assert_eq!(state.shown, 3 * DAY);
    }

    #[test]
    fn after_a_jump_back_it_goes_on_slowly_and_never_back() {
        let mut state = begun(10 * DAY);
        assert!(state.step(9 * DAY, SECOND));
        assert_eq!(state.shown, 10 * DAY + SECOND / 2);
        let mut last = state.shown;
        for hour in 1..49 {
            state.step(9 * DAY + hour * 3600 * SECOND, SECOND + hour * 3600 * SECOND);
            assert!(state.shown > last);
            last = state.shown;
        }
        assert!((state.shown - 11 * DAY).abs() <= 2 * SECOND);
    }

    #[test]
    fn a_jump_outlives_the_process_and_a_boot_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        remember(&file, uptime_us() - uptime_us() + 5 * DAY);
        let ahead = SteadyClock::new(Some(folder.path())).now().as_millis() * 1000 - uptime_us();
        assert!((ahead - 5 * DAY).abs() < 60 * SECOND, "{ahead}");
        std::fs::write(&file, format!("another-boot {DAY}\n")).unwrap();
        let off = SteadyClock::new(Some(folder.path())).now().as_millis() - SystemClock.now().as_millis();
        assert!(off.abs() < 60_000, "{off}");
        let clock = SteadyClock::new(None);
        let later = SystemClock.now().plus_millis(3_600_000);
        clock.not_before(later);
        assert!(clock.now() >= later);
    }
}
