//! The signal to stop, shared by everything that runs in the background.

use std::sync::Arc;
use tokio::sync::watch;

/// A token that is triggered once. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    pub fn new() -> Shutdown {
        Shutdown { sender: Arc::new(watch::Sender::new(false)) }
    }

    pub fn trigger(&self) {
        self.sender.send_replace(true);
    }

    pub fn is_shutdown(&self) -> bool {
        *self.sender.borrow()
    }

    /// Returns once it was triggered, at once when it already is. Safe to drop and call again.
    pub async fn wait(&self) {
        let mut receiver = self.sender.subscribe();
        // The sender cannot be gone: `self` holds it.
        let _ = receiver.wait_for(|triggered| *triggered).await;
    }

    /// Sleeps; `true` when the whole time passed, `false` when the shutdown came first.
    pub async fn sleep(&self, duration: std::time::Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.wait() => false,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown::new()
    }
}
