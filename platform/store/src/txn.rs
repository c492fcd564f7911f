//! A transaction: a list of changes built in memory and committed at once. No I/O happens here.

use crate::limits::*;
use crate::{Document, StoreError, Versioned};
use towpath_api::{Event, Timestamp};

/// Work to be done at a time: unique per (queue, key).
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub queue: String,
    pub key: String,
    pub payload: serde_json::Value,
    pub run_at: Timestamp,
}

impl Job {
    /// A job without a payload: its key says what to look at.
    pub fn new(queue: impl Into<String>, key: impl Into<String>, run_at: Timestamp) -> Job {
        Job { queue: queue.into(), key: key.into(), payload: serde_json::Value::Null, run_at }
    }

    pub fn with_payload(mut self, payload: serde_json::Value) -> Job {
        self.payload = payload;
        self
    }
}

/// A claimed job. Whoever holds the newest fence may commit for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub queue: String,
    pub key: String,
    /// As it was when the job was claimed.
    pub payload: serde_json::Value,
    /// 1 the first time; counts claims since the job last completed.
    pub attempt: u32,
    pub fence: u64,
    /// From then on another worker may claim the job.
    pub expires_at: Timestamp,
}

/// One change of a transaction, in the form that every backend carries out.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create { kind: &'static str, key: String, body: String },
    Replace { kind: &'static str, key: String, version: i64, body: String },
    Put { kind: &'static str, key: String, body: String },
    Delete { kind: &'static str, key: String, version: i64 },
    Expect { kind: &'static str, key: String, version: i64 },
    ExpectAbsent { kind: &'static str, key: String },
    Emit { event: String },
    Enqueue { queue: String, key: String, payload: String, run_at: i64 },
    Cancel { queue: String, key: String },
    Complete(Hold),
    Guard(Hold),
    Release { hold: Hold, run_at: i64 },
}

/// The proof that a job is held.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub queue: String,
    pub key: String,
    pub fence: i64,
}

impl From<&Lease> for Hold {
    fn from(lease: &Lease) -> Self {
        Hold { queue: lease.queue.clone(), key: lease.key.clone(), fence: lease.fence as i64 }
    }
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Once it is on the disk.
    #[default]
    Now,
    /// Once it is in its place among the commits: it is on the disk no later than the next one that is there.
    WithTheNext,
}

/// Changes that become true together. They are carried out in the order in which they were added,
/// except that leases are checked before anything else.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    pub(crate) ops: Vec<Op>,
    pub(crate) bytes: usize,
    pub(crate) durability: Durability,
    /// The first rule that was broken; [`crate::Store::commit`] reports it and writes nothing.
    pub(crate) broken: Option<String>,
}

impl Txn {
    pub fn new() -> Txn {
        Txn::default()
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.broken.is_none()
    }

    /// Does not wait for the disk: for what only spares work, and is not told to anybody. Such a commit
    /// outlives the process. Where the machine loses its power it may be lost, but then with everything that
    /// was committed after it; so nobody finds a later state without it.
    pub fn without_waiting(&mut self) -> &mut Self {
        self.durability = Durability::WithTheNext;
        self
    }

    /// Adds everything that `other` holds. Whether to wait for the disk stays as it is.
    pub fn append(&mut self, other: Txn) -> &mut Self {
        self.ops.extend(other.ops);
        self.bytes += other.bytes;
        if self.broken.is_none() {
            self.broken = other.broken;
        }
        self
    }

    /// [`StoreError::Conflict`] where it exists.
    pub fn create<D: Document>(&mut self, doc: &D) -> &mut Self {
        if let Some((key, body)) = self.encode(doc) {
            self.ops.push(Op::Create { kind: D::KIND, key, body });
        }
        self
    }

    /// [`StoreError::Conflict`] where it changed since `old` was read. The key must stay the same.
    pub fn replace<D: Document>(&mut self, old: &Versioned<D>, new: &D) -> &mut Self {
        if let Some((key, body)) = self.encode(new) {
            if key != old.doc.key() {
                self.refuse::<()>(format!("{} {:?} cannot become {key:?}", D::KIND, old.doc.key()));
            }
            self.ops.push(Op::Replace { kind: D::KIND, key, version: old.version, body });
        }
        self
    }

    /// Creates or overwrites, whatever is there.
    pub fn put<D: Document>(&mut self, doc: &D) -> &mut Self {
        if let Some((key, body)) = self.encode(doc) {
            self.ops.push(Op::Put { kind: D::KIND, key, body });
        }
        self
    }

    /// [`StoreError::Conflict`] where it changed since `old` was read.
    pub fn delete<D: Document>(&mut self, old: &Versioned<D>) -> &mut Self {
        self.ops.push(Op::Delete { kind: D::KIND, key: old.doc.key(), version: old.version });
        self
    }

    /// Commits only where the document still is as `seen`: a decision was based on it.
    pub fn expect<D: Document>(&mut self, seen: &Versioned<D>) -> &mut Self {
        self.ops.push(Op::Expect { kind: D::KIND, key: seen.doc.key(), version: seen.version });
        self
    }

    /// Commits only where no document has this key.
    pub fn expect_absent<D: Document>(&mut self, key: &str) -> &mut Self {
        self.ops.push(Op::ExpectAbsent { kind: D::KIND, key: key.to_owned() });
        self
    }

    /// Writes an event to the outbox.
    pub fn emit(&mut self, event: Event) -> &mut Self {
        if let Some(event) = self.encode_json("event", &event.source, &event, MAX_EVENT_BYTES) {
            self.ops.push(Op::Emit { event });
        }
        self
    }

    /// Adds a job. One that exists is woken: the earlier `run_at` wins and the payload is replaced; one
    /// that is leased runs once more afterwards.
    pub fn enqueue(&mut self, job: Job) -> &mut Self {
        self.check_key("queue", "", &job.queue);
        self.check_key("job", &job.queue, &job.key);
        if let Some(payload) = self.encode_json("payload of job", &job.key, &job.payload, MAX_PAYLOAD_BYTES) {
            let run_at = job.run_at.as_millis();
            self.ops.push(Op::Enqueue { queue: job.queue, key: job.key, payload, run_at });
        }
        self
    }

    /// Removes a job, a timer that is no longer needed. Whoever holds it loses its lease.
    pub fn cancel(&mut self, queue: &str, key: &str) -> &mut Self {
        self.ops.push(Op::Cancel { queue: queue.to_owned(), key: key.to_owned() });
        self
    }

    /// Ends a job. One that was woken since it was claimed stays and runs again.
    /// [`StoreError::LeaseLost`] where the lease is no longer the holder's.
    pub fn complete(&mut self, lease: &Lease) -> &mut Self {
        self.ops.push(Op::Complete(lease.into()));
        self
    }

    /// Commits only while the lease is the holder's.
    pub fn guard(&mut self, lease: &Lease) -> &mut Self {
        self.ops.push(Op::Guard(lease.into()));
        self
    }

    /// Gives a job back, to run again at `run_at` or when it is woken.
    pub fn release(&mut self, lease: &Lease, run_at: Timestamp) -> &mut Self {
        self.ops.push(Op::Release { hold: lease.into(), run_at: run_at.as_millis() });
        self
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if let Some(reason) = &self.broken {
            return Err(StoreError::Invalid(reason.clone()));
        }
        if self.ops.len() > MAX_TXN_OPERATIONS {
            return Err(StoreError::Invalid(format!(
                "a transaction of {} changes exceeds {MAX_TXN_OPERATIONS}",
                self.ops.len()
            )));
        }
        if self.bytes > MAX_TXN_BYTES {
            return Err(StoreError::Invalid(format!(
                "a transaction of {} bytes exceeds {MAX_TXN_BYTES}",
                self.bytes
            )));
        }
        Ok(())
    }

    fn encode<D: Document>(&mut self, doc: &D) -> Option<(String, String)> {
        let key = doc.key();
        self.check_key(D::KIND, D::KIND, &key);
        let body = self.encode_json(D::KIND, &key, doc, MAX_DOCUMENT_BYTES)?;
        Some((key, body))
    }

    fn encode_json(
        &mut self,
        what: &str,
        key: &str,
        value: &impl serde::Serialize,
        limit_bytes: usize,
    ) -> Option<String> {
        match serde_json::to_string(value) {
            Ok(body) if body.len() > limit_bytes => {
                let size = body.len();
                self.refuse(format!("{what} {key:?} of {size} bytes exceeds {limit_bytes}"))
            }
            Ok(body) => {
                self.bytes += body.len();
                Some(body)
            }
            Err(error) => self.refuse(format!("{what} {key:?} cannot be written as JSON: {error}")),
        }
    }

    fn check_key(&mut self, what: &str, space: &str, key: &str) {
        let too_long = space.len() + key.len() > MAX_KEY_BYTES;
        if key.is_empty() || too_long || key.contains(KEY_CEILING) || key.contains('\0') {
            let start: String = key.chars().take(80).collect();
            self.refuse::<()>(format!("{what} has a key that the store cannot take: {start:?}"));
        }
    }

    fn refuse<T>(&mut self, reason: String) -> Option<T> {
        self.broken.get_or_insert(reason);
        None
    }
}
