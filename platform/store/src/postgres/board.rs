//! What a group of transactions does to the rows that they touch: pure, in memory.
//!
//! The writer locks and reads what a group touches, lets each transaction of it make its moves here, in
//! order, and writes the outcome in a few statements. A transaction whose expectations do not hold takes
//! its moves back and leaves the others alone: what savepoints are for in SQLite.

use crate::StoreError;
use crate::txn::{Hold, Op};
use std::collections::{BTreeSet, HashMap};

/// (kind, key) of a document, (queue, key) of a job.
pub(super) type Name<'a> = (&'a str, &'a str);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doc<'a> {
    Absent,
    /// As the database has it.
    Stored {
        version: i64,
    },
    /// Written by this group: nobody can have seen its version.
    Written {
        body: &'a str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct JobRow<'a> {
    /// `None`: as the database has it.
    pub payload: Option<&'a str>,
    pub run_at: i64,
    pub again_at: Option<i64>,
    pub attempt: i32,
    pub fence: i64,
    pub leased: bool,
}

#[derive(Debug)]
struct Slot<T> {
    before: T,
    now: T,
}

impl<T: Copy> Slot<T> {
    fn new(found: T) -> Slot<T> {
        Slot { before: found, now: found }
    }
}

/// The rows that a group touches. Names that are not here are absent.
#[derive(Debug, Default)]
pub(super) struct Board<'a> {
    docs: HashMap<Name<'a>, Slot<Doc<'a>>>,
    jobs: HashMap<Name<'a>, Slot<Option<JobRow<'a>>>>,
    /// When, and what.
    events: Vec<(i64, &'a str)>,
}

/// What is to be written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes<'a> {
    pub written: Vec<(Name<'a>, &'a str)>,
    pub deleted: Vec<Name<'a>>,
    pub new_jobs: Vec<(Name<'a>, JobRow<'a>)>,
    pub changed_jobs: Vec<(Name<'a>, JobRow<'a>)>,
    pub ended_jobs: Vec<Name<'a>>,
    pub events: Vec<(i64, &'a str)>,
}

/// The names that transactions touch, each once and in order: also the order of locks.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Touched<'a> {
    pub docs: BTreeSet<Name<'a>>,
    pub jobs: BTreeSet<Name<'a>>,
}

impl<'a> Touched<'a> {
    pub fn add(&mut self, ops: &'a [Op]) {
        for op in ops {
            match op {
                Op::Emit { .. } => {}
                Op::Enqueue { queue, key, .. } | Op::Cancel { queue, key } => job(&mut self.jobs, queue, key),
                Op::Complete(hold) | Op::Guard(hold) | Op::Release { hold, .. } => {
                    job(&mut self.jobs, &hold.queue, &hold.key);
                }
                Op::Create { kind, key, .. }
                | Op::Replace { kind, key, .. }
                | Op::Put { kind, key, .. }
                | Op::Delete { kind, key, .. }
                | Op::Expect { kind, key, .. }
                | Op::ExpectAbsent { kind, key } => {
                    if is_storable(key) {
                        self.docs.insert((kind, key));
                    }
                }
            }
        }
    }
}

fn job<'a>(jobs: &mut BTreeSet<Name<'a>>, queue: &'a str, key: &'a str) {
    if is_storable(queue) && is_storable(key) {
        jobs.insert((queue, key));
    }
}

/// PostgreSQL's text has no NUL; the store lets nobody write one, so such a name is absent.
pub(super) fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

impl<'a> Board<'a> {
    pub fn document(&mut self, name: Name<'a>, version: i64) {
        self.docs.insert(name, Slot::new(Doc::Stored { version }));
    }

    pub fn job(&mut self, name: Name<'a>, job: JobRow<'a>) {
        self.jobs.insert(name, Slot::new(Some(job)));
    }

    /// One transaction: all of its moves, or none.
    pub fn apply(&mut self, ops: &'a [Op], now: i64) -> Result<(), StoreError> {
        for op in ops {
            if let Op::Complete(hold) | Op::Guard(hold) | Op::Release { hold, .. } = op {
                self.check_hold(hold)?;
            }
        }
        let events = self.events.len();
        let mut undo = Undo::default();
        let outcome = ops.iter().try_for_each(|op| self.step(op, now, &mut undo));
        if outcome.is_err() {
            self.events.truncate(events);
            for (name, doc) in undo.docs.into_iter().rev() {
                self.doc_slot(name).now = doc;
            }
            for (name, job) in undo.jobs.into_iter().rev() {
                self.job_slot(name).now = job;
            }
        }
        outcome
    }

    fn step(&mut self, op: &'a Op, now: i64, undo: &mut Undo<'a>) -> Result<(), StoreError> {
        match op {
            Op::Create { kind, key, body } => {
                self.expect((kind, key), |doc| doc == Doc::Absent)?;
                self.set_doc((kind, key), Doc::Written { body }, undo);
            }
            Op::Replace { kind, key, version, body } => {
                self.expect((kind, key), |doc| doc == Doc::Stored { version: *version })?;
                self.set_doc((kind, key), Doc::Written { body }, undo);
            }
            Op::Put { kind, key, body } => self.set_doc((kind, key), Doc::Written { body }, undo),
            Op::Delete { kind, key, version } => {
                self.expect((kind, key), |doc| doc == Doc::Stored { version: *version })?;
                self.set_doc((kind, key), Doc::Absent, undo);
            }
            Op::Expect { kind, key, version } => {
                self.expect((kind, key), |doc| doc == Doc::Stored { version: *version })?;
            }
            Op::ExpectAbsent { kind, key } => self.expect((kind, key), |doc| doc == Doc::Absent)?,
            Op::Emit { event } => self.events.push((now, event)),
            Op::Enqueue { queue, key, payload, run_at } => {
                let woken = woken(self.job_at((queue, key)), payload, *run_at);
                self.set_job((queue, key), Some(woken), undo);
            }
            Op::Cancel { queue, key } => self.set_job((queue, key), None, undo),
            Op::Complete(hold) => self.settle(hold, ended, undo),
            Op::Guard(_) => {}
            Op::Release { hold, run_at } => {
                self.settle(hold, |job| Some(given_back(job, *run_at, job.attempt)), undo);
            }
        }
        Ok(())
    }

    fn expect(&self, name: Name<'a>, holds: impl Fn(Doc<'a>) -> bool) -> Result<(), StoreError> {
        let doc = self.docs.get(&name).map_or(Doc::Absent, |slot| slot.now);
        if holds(doc) {
            return Ok(());
        }
        Err(StoreError::Conflict { kind: name.0.to_owned(), key: name.1.to_owned() })
    }

    fn check_hold(&self, hold: &'a Hold) -> Result<(), StoreError> {
        match self.job_at((&hold.queue, &hold.key)) {
            Some(job) if job.leased && job.fence == hold.fence => Ok(()),
            _ => Err(StoreError::LeaseLost { queue: hold.queue.clone(), key: hold.key.clone() }),
        }
    }

    /// Where the same transaction cancelled the job, there is nothing left to do.
    fn settle(
        &mut self,
        hold: &'a Hold,
        then: impl FnOnce(JobRow<'a>) -> Option<JobRow<'a>>,
        undo: &mut Undo<'a>,
    ) {
        let name = (hold.queue.as_str(), hold.key.as_str());
        if let Some(job) = self.job_at(name).filter(|job| job.fence == hold.fence) {
            self.set_job(name, then(job), undo);
        }
    }

    fn job_at(&self, name: Name<'a>) -> Option<JobRow<'a>> {
        self.jobs.get(&name).and_then(|slot| slot.now)
    }

    fn doc_slot(&mut self, name: Name<'a>) -> &mut Slot<Doc<'a>> {
        self.docs.entry(name).or_insert_with(|| Slot::new(Doc::Absent))
    }

    fn job_slot(&mut self, name: Name<'a>) -> &mut Slot<Option<JobRow<'a>>> {
        self.jobs.entry(name).or_insert_with(|| Slot::new(None))
    }

    fn set_doc(&mut self, name: Name<'a>, doc: Doc<'a>, undo: &mut Undo<'a>) {
        let before = std::mem::replace(&mut self.doc_slot(name).now, doc);
        undo.docs.push((name, before));
    }

    fn set_job(&mut self, name: Name<'a>, job: Option<JobRow<'a>>, undo: &mut Undo<'a>) {
        let before = std::mem::replace(&mut self.job_slot(name).now, job);
        undo.jobs.push((name, before));
    }

    pub fn changes(self) -> Changes<'a> {
        let mut changes = Changes { events: self.events, ..Changes::default() };
        for (name, slot) in self.docs {
            match (slot.before, slot.now) {
                (_, Doc::Written { body }) => changes.written.push((name, body)),
                (Doc::Stored { .. }, Doc::Absent) => changes.deleted.push(name),
                _ => {}
            }
        }
        for (name, slot) in self.jobs {
            match (slot.before, slot.now) {
                (before, now) if before == now => {}
                (None, Some(job)) => changes.new_jobs.push((name, job)),
                (Some(_), Some(job)) => changes.changed_jobs.push((name, job)),
                (_, None) => changes.ended_jobs.push(name),
            }
        }
        changes
    }
}

#[derive(Default)]
struct Undo<'a> {
    docs: Vec<(Name<'a>, Doc<'a>)>,
    jobs: Vec<(Name<'a>, Option<JobRow<'a>>)>,
}

/// The earlier time wins; a job that somebody holds runs once more afterwards.
fn woken<'a>(job: Option<JobRow<'a>>, payload: &'a str, run_at: i64) -> JobRow<'a> {
    let payload = Some(payload);
    match job {
        None => JobRow { payload, run_at, again_at: None, attempt: 0, fence: 0, leased: false },
        Some(job) if job.leased => {
            let again_at = Some(job.again_at.map_or(run_at, |again_at| again_at.min(run_at)));
            JobRow { payload, again_at, ..job }
        }
        Some(job) => JobRow { payload, run_at: job.run_at.min(run_at), again_at: None, ..job },
    }
}

/// The job goes, unless it was woken since it was claimed: then it is as good as new.
fn ended(job: JobRow<'_>) -> Option<JobRow<'_>> {
    job.again_at.map(|again_at| given_back(job, again_at, 0))
}

fn given_back(job: JobRow<'_>, run_at: i64, attempt: i32) -> JobRow<'_> {
    let run_at = job.again_at.map_or(run_at, |again_at| again_at.min(run_at));
    JobRow { run_at, again_at: None, attempt, leased: false, ..job }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const HELD: JobRow<'static> =
        JobRow { payload: None, run_at: 5, again_at: None, attempt: 3, fence: 9, leased: true };

    fn put(key: &str, body: &str) -> Op {
        Op::Put { kind: "k", key: key.into(), body: body.into() }
    }

    fn hold(fence: i64) -> Hold {
        Hold { queue: "q".into(), key: "j".into(), fence }
    }

    fn wake(run_at: i64) -> Op {
        Op::Enqueue { queue: "q".into(), key: "j".into(), payload: "1".into(), run_at }
    }

    #[test]
    fn a_refused_transaction_leaves_the_others_of_its_group_alone() {
        let first = [put("a", "1"), Op::Emit { event: "A".into() }, wake(7)];
        let refused = [
            put("a", "2"),
            put("b", "2"),
            Op::Delete { kind: "k", key: "old".into(), version: 4 },
            Op::Emit { event: "B".into() },
            wake(1),
            Op::Cancel { queue: "q".into(), key: "j".into() },
            Op::ExpectAbsent { kind: "k", key: "a".into() },
        ];
        let last = [put("c", "3")];
        let mut board = Board::default();
        board.document(("k", "old"), 4);
        board.apply(&first, 10).unwrap();
        assert!(board.apply(&refused, 11).unwrap_err().is_conflict());
        board.apply(&last, 12).unwrap();
        let mut changes = board.changes();
        changes.written.sort();
        assert_eq!(changes.written, [(("k", "a"), "1"), (("k", "c"), "3")]);
        assert_eq!(changes.events, [(10, "A")]);
        assert_eq!(changes.new_jobs.len(), 1);
        assert_eq!(changes.new_jobs[0].1.run_at, 7);
        assert!(changes.deleted.is_empty() && changes.ended_jobs.is_empty());
    }

    #[test]
    fn what_a_group_writes_has_no_version_that_anyone_knows() {
        let replace = Op::Replace { kind: "k", key: "a".into(), version: 4, body: "2".into() };
        let first = [replace.clone()];
        let second = [replace];
        let mut board = Board::default();
        board.document(("k", "a"), 4);
        board.apply(&first, 0).unwrap();
        assert!(board.apply(&second, 0).unwrap_err().is_conflict());
    }

    #[test]
    fn what_is_made_and_unmade_within_a_group_is_not_written() {
        let ops = [wake(1), Op::Cancel { queue: "q".into(), key: "j".into() }];
        let mut board = Board::default();
        board.apply(&ops, 0).unwrap();
        assert_eq!(board.changes(), Changes::default());
    }

    #[test]
    fn a_held_job_that_is_woken_and_completed_is_as_good_as_new() {
        let wakes = [wake(20), wake(15), wake(30)];
        let complete = [Op::Complete(hold(9))];
        let mut board = Board::default();
        board.job(("q", "j"), HELD);
        board.apply(&wakes, 0).unwrap();
        board.apply(&complete, 0).unwrap();
        assert!(board.apply(&complete, 0).unwrap_err().is_lease_lost(), "once");
        let expected =
            JobRow { payload: Some("1"), run_at: 15, again_at: None, attempt: 0, fence: 9, leased: false };
        assert_eq!(board.changes().changed_jobs, [(("q", "j"), expected)]);
    }

    #[test]
    fn an_old_fence_moves_nothing() {
        let ops = [put("a", "1"), Op::Complete(hold(8))];
        let mut board = Board::default();
        board.job(("q", "j"), HELD);
        assert!(board.apply(&ops, 0).unwrap_err().is_lease_lost());
        assert_eq!(board.changes(), Changes::default());
    }

    #[test]
    fn names_that_cannot_be_stored_are_absent() {
        let ops = [
            Op::ExpectAbsent { kind: "k", key: "a\0".into() },
            Op::Cancel { queue: "q".into(), key: "\0".into() },
        ];
        let mut touched = Touched::default();
        touched.add(&ops);
        assert_eq!(touched, Touched::default());
        let mut board = Board::default();
        board.apply(&ops, 0).unwrap();
        assert_eq!(board.changes(), Changes::default());
    }
}
