//! Who waits at this node, in memory: held polls by host, and what was handed out when. What another node
//! commits wakes them by the store's word ([`crate::command`]). Losing it costs nothing but a
//! command that is handed out twice, which the protocol allows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};
use towpath_api::Timestamp;

/// Locks that keep reports about hosts of one deployment from running into conflicts with each other.
const STRIPES: usize = 64;
/// Entries beyond it are forgotten; a forgotten one means an early second hand-out.
const MAX_REMEMBERED: usize = 100_000;

pub struct Hub {
    hosts: Mutex<HashMap<String, Arc<Notify>>>,
    handed_out: Mutex<HashMap<String, Timestamp>>,
    closing: watch::Sender<bool>,
    stripes: Vec<AsyncMutex<()>>,
}

impl Default for Hub {
    fn default() -> Self {
        Hub {
            hosts: Mutex::default(),
            handed_out: Mutex::default(),
            closing: watch::Sender::new(false),
            stripes: (0..STRIPES).map(|_| AsyncMutex::new(())).collect(),
        }
    }
}

impl Hub {
    /// What a held poll of this host waits on.
    pub fn waiter(&self, instance: &str) -> Arc<Notify> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(instance.to_owned()).or_default().clone()
    }

    pub fn wake(&self, instance: &str) {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiter) = hosts.get(instance) {
            waiter.notify_waiters();
        }
    }

    /// A host that is gone needs no entry.
    pub fn forget(&self, instance: &str) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
    }

    /// Whether the command may be handed out now; it counts as handed out then.
    pub fn hand_out(&self, command: &str, now: Timestamp, redelivery_ms: i64) -> bool {
        let mut handed_out = self.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        if handed_out.get(command).is_some_and(|at| now.since_millis(*at) < redelivery_ms) {
            return false;
        }
        if handed_out.len() >= MAX_REMEMBERED {
            handed_out.clear();
        }
        handed_out.insert(command.to_owned(), now);
        true
    }

    /// An acknowledged command is never handed out again.
    pub fn acknowledged(&self, command: &str) {
        self.handed_out.lock().unwrap_or_else(PoisonError::into_inner).remove(command);
    }

    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Serializes changes of one deployment within this process. The store's expectations keep them right
    /// without it; it only spares the retries.
    pub fn stripe(&self, deployment_id: &str) -> &AsyncMutex<()> {
        let sum =
            deployment_id.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        &self.stripes[sum % STRIPES]
    }
}
