//! Wake-ups: who waits for jobs, events or documents sleeps until a commit wrote some.
//!
//! A commit of this process fires them itself. Where other processes share the database, the backend
//! fires what those announce, and everything once whenever it may have missed an announcement.

use crate::txn::Op;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// Each counter only says "something changed"; the truth is in the tables.
pub(crate) struct Signals {
    committed: watch::Sender<u64>,
    emitted: watch::Sender<u64>,
    queues: Named,
    kinds: Named,
}

/// Counters that exist once somebody asked for them.
type Named = Mutex<HashMap<String, watch::Sender<u64>>>;

/// What a transaction will wake once it is committed. As JSON it is short: it travels in notifications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wakes {
    #[serde(default, rename = "e")]
    pub emits: bool,
    #[serde(default, rename = "q")]
    pub queues: BTreeSet<String>,
    #[serde(default, rename = "k")]
    pub kinds: BTreeSet<String>,
}

impl Wakes {
    pub fn of(ops: &[Op]) -> Wakes {
        let mut wakes = Wakes::default();
        wakes.add(ops);
        wakes
    }

    pub fn add(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Emit { .. } => self.emits = true,
                Op::Enqueue { queue, .. } | Op::Cancel { queue, .. } => insert(&mut self.queues, queue),
                Op::Complete(hold) | Op::Release { hold, .. } => insert(&mut self.queues, &hold.queue),
                Op::Create { kind, .. }
                | Op::Replace { kind, .. }
                | Op::Put { kind, .. }
                | Op::Delete { kind, .. } => insert(&mut self.kinds, kind),
                Op::Expect { .. } | Op::ExpectAbsent { .. } | Op::Guard(_) => {}
            }
        }
    }
}

fn insert(names: &mut BTreeSet<String>, name: &str) {
    if !names.contains(name) {
        names.insert(name.to_owned());
    }
}

impl Signals {
    pub fn new() -> Signals {
        Signals {
            committed: watch::Sender::new(0),
            emitted: watch::Sender::new(0),
            queues: Named::default(),
            kinds: Named::default(),
        }
    }

    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    pub fn emitted(&self) -> watch::Receiver<u64> {
        self.emitted.subscribe()
    }

    pub fn queue(&self, queue: &str) -> watch::Receiver<u64> {
        subscribe(&self.queues, queue)
    }

    pub fn kind(&self, kind: &str) -> watch::Receiver<u64> {
        subscribe(&self.kinds, kind)
    }

    pub fn fire(&self, wakes: &Wakes) {
        // Documents first: whoever a job or an event wakes should find its caches already told.
        fire_named(&self.kinds, &wakes.kinds);
        fire_named(&self.queues, &wakes.queues);
        if wakes.emits {
            bump(&self.emitted);
        }
        if wakes.emits || !wakes.queues.is_empty() {
            bump(&self.committed);
        }
    }

    pub fn fire_all(&self) {
        for named in [&self.kinds, &self.queues] {
            named.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(bump);
        }
        bump(&self.emitted);
        bump(&self.committed);
    }
}

fn subscribe(named: &Named, name: &str) -> watch::Receiver<u64> {
    let mut senders = named.lock().unwrap_or_else(PoisonError::into_inner);
    senders.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
}

fn fire_named(named: &Named, names: &BTreeSet<String>) {
    if names.is_empty() {
        return;
    }
    let senders = named.lock().unwrap_or_else(PoisonError::into_inner);
    names.iter().filter_map(|name| senders.get(name)).for_each(bump);
}

fn bump(sender: &watch::Sender<u64>) {
    sender.send_modify(|count| *count = count.wrapping_add(1));
}
