//! The wish that the agent stop, and how urgent it is.

use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};
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

/// Where the handler says that a signal came.
static SIGNALS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(_: libc::c_int) {
    // SAFETY: write is async-signal-safe, and the byte lives until it returns.
    unsafe {
        libc::write(SIGNALS.load(Ordering::SeqCst), [1u8].as_ptr().cast(), 1);
    }
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

    /// One that SIGTERM and SIGINT trigger: once to finish, twice to abort. For a process that has one agent.
    pub fn on_signals() -> io::Result<Arc<Stop>> {
        let stop = Stop::new();
        let (told, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        // Open for as long as the process runs, for a signal may come at any time.
        SIGNALS.store(tell.into_raw_fd(), Ordering::SeqCst);
        let action = SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            // SAFETY: the handler only writes to a pipe.
            unsafe { sigaction(signal, &action) }?;
        }
        let stopped = stop.clone();
        std::thread::Builder::new().name("signals".into()).stack_size(64 << 10).spawn(move || {
            let mut told = File::from(told);
            while told.read_exact(&mut [0]).is_ok() {
                if stopped.is_requested() {
                    stopped.abort();
                } else {
                    tracing::info!("stopping; the command at hand is finished first");
                    stopped.request();
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
