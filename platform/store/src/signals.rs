//! In-process wake-ups: who waits for jobs or events sleeps until a commit wrote some.

use crate::txn::Op;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Each counter only says "something changed"; the truth is in the tables.
pub(crate) struct Signals {
    committed: watch::Sender<u64>,
    emitted: watch::Sender<u64>,
    queues: Mutex<HashMap<String, watch::Sender<u64>>>,
}

/// What a transaction will wake once it is committed.
pub(crate) struct Wakes {
    emits: bool,
    queues: BTreeSet<String>,
}

impl Wakes {
    pub fn of(ops: &[Op]) -> Wakes {
        let mut wakes = Wakes { emits: false, queues: BTreeSet::new() };
        for op in ops {
            match op {
                Op::Emit { .. } => wakes.emits = true,
                Op::Enqueue { queue, .. } | Op::Cancel { queue, .. } => wakes.wake(queue),
                Op::Complete(hold) | Op::Release { hold, .. } => wakes.wake(&hold.queue),
                _ => {}
            }
        }
        wakes
    }

    fn wake(&mut self, queue: &str) {
        if !self.queues.contains(queue) {
            self.queues.insert(queue.to_owned());
        }
    }
}

impl Signals {
    pub fn new() -> Signals {
        Signals {
            committed: watch::Sender::new(0),
            emitted: watch::Sender::new(0),
            queues: Mutex::new(HashMap::new()),
        }
    }

    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    pub fn emitted(&self) -> watch::Receiver<u64> {
        self.emitted.subscribe()
    }

    pub fn queue(&self, queue: &str) -> watch::Receiver<u64> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.entry(queue.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    pub fn fire(&self, wakes: &Wakes) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in wakes.queues.iter().filter_map(|queue| queues.get(queue)) {
            bump(sender);
        }
        if wakes.emits {
            bump(&self.emitted);
        }
        if wakes.emits || !wakes.queues.is_empty() {
            bump(&self.committed);
        }
    }

    pub fn fire_all(&self) {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(bump);
        bump(&self.emitted);
        bump(&self.committed);
    }
}

fn bump(sender: &watch::Sender<u64>) {
    sender.send_modify(|count| *count = count.wrapping_add(1));
}
