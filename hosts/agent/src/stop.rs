//! The wish that the agent stop, and how urgent it is.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Run,
    /// Finish the command at hand, within the configured grace.
    Finish,
    /// Abort the command at hand.
    Abort,
}

/// Shared by the agent and whoever stops it.
#[derive(Debug)]
pub struct Stop {
    wish: Mutex<Wish>,
    changed: Condvar,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { wish: Mutex::new(Wish::Run), changed: Condvar::new() }
    }
}

impl Stop {
    pub fn new() -> Arc<Stop> {
        Arc::new(Stop::default())
    }

    /// One that SIGTERM and SIGINT trigger: once to finish, twice to abort. Call it before other threads
    /// exist, for they inherit the signal mask that it sets.
    pub fn on_signals() -> io::Result<Arc<Stop>> {
        let stop = Stop::new();
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
        let told = stop.clone();
        std::thread::Builder::new().name("signals".into()).stack_size(64 << 10).spawn(move || {
            while signals.wait().is_ok() {
                if told.is_requested() {
                    told.abort();
                } else {
                    tracing::info!("stopping; the command at hand is finished first");
                    told.request();
                }
            }
        })?;
        Ok(stop)
    }

    fn set(&self, wish: Wish) {
        let mut current = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (*current).max(wish);
        self.changed.notify_all();
    }

    fn get(&self) -> Wish {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn request(&self) {
        self.set(Wish::Finish);
    }

    pub fn abort(&self) {
        self.set(Wish::Abort);
    }

    pub fn is_requested(&self) -> bool {
        self.get() >= Wish::Finish
    }

    pub fn is_abort(&self) -> bool {
        self.get() >= Wish::Abort
    }

    /// Sleeps, and wakes early when it is time to stop. True when it is.
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut wish = self.wish.lock().unwrap_or_else(PoisonError::into_inner);
        while *wish == Wish::Run {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            wish = self.changed.wait_timeout(wish, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
