//! What every backend must do, written against [`Store`] alone. Each function takes a fresh store; the
//! macro at the end runs them all on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use towpath_api::{Clock, Event, Timestamp};
use towpath_store::{Change, Document, Job, Options, Order, Store, StoreError, Txn, key};
use towpath_test_cluster::Cluster;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    id: String,
    text: String,
}

impl Document for Note {
    const KIND: &'static str = "test/note";

    fn key(&self) -> String {
        self.id.clone()
    }
}

#[derive(Serialize, Deserialize)]
struct Other {
    id: String,
}

impl Document for Other {
    const KIND: &'static str = "test/other";

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn note(id: &str, text: &str) -> Note {
    Note { id: id.into(), text: text.into() }
}

fn event(name: &str) -> Event {
    let time = Timestamp::from_millis(1000);
    Event::new("aws.test", name, ("000000000000", "us-east-1"), time, Vec::new(), serde_json::json!({}))
}

fn txn(build: impl FnOnce(&mut Txn)) -> Txn {
    let mut txn = Txn::new();
    build(&mut txn);
    txn
}

async fn commit(store: &Store, build: impl FnOnce(&mut Txn)) -> Result<(), StoreError> {
    store.commit(txn(build)).await
}

async fn enqueue(store: &Store, key: &str, run_at: i64) {
    let job = Job::new("q", key, Timestamp::from_millis(run_at));
    commit(store, |txn| _ = txn.enqueue(job)).await.unwrap();
}

async fn a_document_comes_back_as_it_was_written(store: Store, _: Hand) {
    assert!(store.get::<Note>("a").await.unwrap().is_none());
    commit(&store, |txn| _ = txn.create(&note("a", "ü\u{1f}\n"))).await.unwrap();
    let found = store.get::<Note>("a").await.unwrap().unwrap();
    assert_eq!(found.doc, note("a", "ü\u{1f}\n"));
    assert!(store.get::<Other>("a").await.unwrap().is_none(), "kinds are apart");
}

async fn a_stale_version_conflicts_and_writes_nothing(store: Store, _: Hand) {
    commit(&store, |txn| _ = txn.create(&note("a", "1"))).await.unwrap();
    let seen = store.get::<Note>("a").await.unwrap().unwrap();
    commit(&store, |txn| _ = txn.replace(&seen, &note("a", "2"))).await.unwrap();
    let stale = [
        txn(|txn| _ = txn.replace(&seen, &note("a", "3"))),
        txn(|txn| _ = txn.delete(&seen)),
        txn(|txn| _ = txn.expect(&seen)),
        txn(|txn| _ = txn.create(&note("a", "3"))),
        txn(|txn| _ = txn.expect_absent::<Note>("a")),
    ];
    for mut txn in stale {
        txn.put(&note("b", "by the way")).emit(event("E"));
        assert!(store.commit(txn).await.unwrap_err().is_conflict());
    }
    assert_eq!(store.get::<Note>("a").await.unwrap().unwrap().text, "2");
    assert!(store.get::<Note>("b").await.unwrap().is_none());
    assert!(store.events_after(0, 10).await.unwrap().is_empty());
}

async fn a_document_made_anew_is_not_the_old_one(store: Store, _: Hand) {
    commit(&store, |txn| _ = txn.create(&note("a", "1"))).await.unwrap();
    let first = store.get::<Note>("a").await.unwrap().unwrap();
    commit(&store, |txn| _ = txn.delete(&first).create(&note("a", "1"))).await.unwrap();
    let error = commit(&store, |txn| _ = txn.replace(&first, &note("a", "2"))).await.unwrap_err();
    assert!(error.is_conflict());
}

async fn listings_go_by_prefix_in_both_orders_page_by_page(store: Store, _: Hand) {
    let mut build = Txn::new();
    for id in ["x", "y"] {
        for part in ["1", "2", "3", "ÿ", "\u{10fffe}"] {
            build.create(&note(&key(&[id, part]), part));
        }
    }
    build.create(&note("x1", "a longer name is no child"));
    store.commit(build).await.unwrap();
    for order in [Order::Ascending, Order::Descending] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.list::<Note>(&key(&["x", ""]), after.as_deref(), 2, order).await.unwrap();
            assert!(page.items.len() <= 2);
            found.extend(page.items.into_iter().map(|item| item.doc.text));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if order == Order::Descending {
            found.reverse();
        }
        assert_eq!(found, ["1", "2", "3", "ÿ", "\u{10fffe}"]);
    }
    let beyond = store.list::<Note>(&key(&["x", ""]), Some("y"), 9, Order::Ascending).await.unwrap();
    assert!(beyond.items.is_empty());
    let all = store.list::<Note>("", None, 100, Order::Ascending).await.unwrap();
    assert_eq!((all.items.len(), all.next), (11, None));
}

async fn limits_are_refused_by_name(store: Store, _: Hand) {
    let large = note("a", &"x".repeat(towpath_store::MAX_DOCUMENT_BYTES));
    let cases = [
        txn(|txn| _ = txn.create(&large)),
        txn(|txn| _ = txn.create(&note("", ""))),
        txn(|txn| _ = txn.create(&note(&"k".repeat(5000), ""))),
        txn(|txn| _ = txn.create(&note("a\0", ""))),
        txn(|txn| (0..10_001).for_each(|_| _ = txn.cancel("q", "k"))),
    ];
    for case in cases {
        assert!(matches!(store.commit(case).await, Err(StoreError::Invalid(_))));
    }
    commit(&store, |txn| _ = txn.create(&note("a", ""))).await.unwrap();
    let seen = store.get::<Note>("a").await.unwrap().unwrap();
    let moved = txn(|txn| _ = txn.replace(&seen, &note("b", "")));
    assert!(matches!(store.commit(moved).await, Err(StoreError::Invalid(_))));
}

async fn keys_are_bytes(store: Store, _: Hand) {
    let mut keys =
        ["a", "B", "_", "é", "Z", "z", "a b", "ab", "a-b", "\u{1}", "\u{7f}", "𝄞", "ﬀ", "E\u{301}"];
    let mut build = Txn::new();
    keys.iter().for_each(|id| _ = build.create(&note(id, "")));
    store.commit(build).await.unwrap();
    keys.sort_unstable();
    let ids = async |prefix: &str, after: Option<&str>, order| {
        let page = store.list::<Note>(prefix, after, 100, order).await.unwrap();
        page.items.into_iter().map(|item| item.doc.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("", None, Order::Ascending).await, keys);
    assert_eq!(ids("a", None, Order::Ascending).await, ["a", "a b", "a-b", "ab"]);
    // No key has a NUL, but callers may ask for one.
    assert!(store.get::<Note>("a\0").await.unwrap().is_none());
    assert!(ids("a\0", None, Order::Ascending).await.is_empty());
    assert_eq!(ids("a", Some("a\0x"), Order::Ascending).await, ["a b", "a-b", "ab"]);
    assert_eq!(ids("a", Some("a b\0x"), Order::Descending).await, ["a b", "a"]);
    commit(&store, |txn| _ = txn.expect_absent::<Note>("a\0").cancel("q\0", "\0")).await.unwrap();
    assert!(store.claim("q\0", "w", 1000, 1).await.unwrap().is_empty());
    assert_eq!(store.next_due("q\0").await.unwrap(), None);
}

async fn the_longest_key_is_stored_and_a_longer_one_refused(store: Store, _: Hand) {
    // Not to be compressed, as an index would.
    let mut state = 1u32;
    let mut letter = || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        char::from(b'!' + (state >> 16) as u8 % 90)
    };
    let length = towpath_store::MAX_KEY_BYTES - Note::KIND.len();
    let longest: String = (0..length).map(|_| letter()).collect();
    let job = Job::new("q".repeat(Note::KIND.len()), &longest, Timestamp::EPOCH);
    commit(&store, |txn| _ = txn.create(&note(&longest, "")).enqueue(job)).await.unwrap();
    assert!(store.get::<Note>(&longest).await.unwrap().is_some());
    let page = store.list::<Note>(&longest, None, 9, Order::Ascending).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let longer = commit(&store, |txn| _ = txn.create(&note(&format!("{longest}x"), ""))).await;
    assert!(matches!(longer, Err(StoreError::Invalid(_))));
}

async fn large_documents_make_short_pages(store: Store, _: Hand) {
    let size = towpath_store::MAX_LIST_BYTES / 9 - 100;
    for number in 0..11 {
        commit(&store, |txn| _ = txn.create(&note(&number.to_string(), &"x".repeat(size)))).await.unwrap();
    }
    for order in [Order::Ascending, Order::Descending] {
        let first = store.list::<Note>("", None, 100, order).await.unwrap();
        assert_eq!(first.items.len(), 9);
        let rest = store.list::<Note>("", first.next.as_deref(), 100, order).await.unwrap();
        assert_eq!((rest.items.len(), rest.next), (2, None));
    }
}

async fn of_many_who_create_the_same_document_one_does(store: Store, _: Hand) {
    let creators: Vec<_> = (0..16)
        .map(|number| {
            let store = store.clone();
            let made = txn(|txn| _ = txn.create(&note("n", &number.to_string())).emit(event("Created")));
            tokio::spawn(async move { store.commit(made).await })
        })
        .collect();
    let mut created = 0;
    for creator in creators {
        match creator.await.unwrap() {
            Ok(()) => created += 1,
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
    assert_eq!((created, store.events_after(0, 10).await.unwrap().len()), (1, 1));
}

async fn claims_come_by_time_free_ones_first(store: Store, hand: Hand) {
    for (key, run_at) in [("old", 1), ("b", 3), ("a", 3), ("c", 2)] {
        enqueue(&store, key, run_at).await;
    }
    let first = store.claim("q", "w1", 1000, 1).await.unwrap();
    assert_eq!(first[0].key, "old");
    hand.advance(1000);
    let keys = |leases: Vec<towpath_store::Lease>| leases.into_iter().map(|l| l.key).collect::<Vec<_>>();
    assert_eq!(keys(store.claim("q", "w2", 1000, 2).await.unwrap()), ["c", "a"]);
    assert_eq!(keys(store.claim("q", "w2", 1000, 9).await.unwrap()), ["b", "old"]);
}

async fn update_retries_until_nobody_interferes(store: Store, _: Hand) {
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let count = |current: Option<&Note>, _: &mut Txn| {
                        let count = current.map_or(0, |note| note.text.parse().unwrap()) + 1;
                        Ok::<_, StoreError>((Change::Put(note("n", &count.to_string())), ()))
                    };
                    store.update("n", count).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(store.get::<Note>("n").await.unwrap().unwrap().text, "80");
}

async fn update_keeps_deletes_and_guards(store: Store, _: Hand) {
    let wrote = |change: fn(&Note) -> Change<Note>| {
        move |current: Option<&Note>, txn: &mut Txn| {
            txn.emit(event("E"));
            Ok::<_, StoreError>((current.map_or(Change::Keep, change), current.is_some()))
        }
    };
    assert!(!store.update("n", wrote(|_| Change::Delete)).await.unwrap());
    commit(&store, |txn| _ = txn.create(&note("n", "1"))).await.unwrap();
    assert!(store.update("n", wrote(|_| Change::Keep)).await.unwrap());
    assert!(store.update("n", wrote(|_| Change::Delete)).await.unwrap());
    assert!(store.get::<Note>("n").await.unwrap().is_none());
    assert_eq!(store.events_after(0, 10).await.unwrap().len(), 3);
}

async fn events_are_numbered_in_order_and_pruned_by_age(store: Store, hand: Hand) {
    for name in ["A", "B", "C"] {
        commit(&store, |txn| _ = txn.emit(event(name))).await.unwrap();
        hand.advance(1000);
    }
    let events = store.events_after(0, 2).await.unwrap();
    let names: Vec<_> = events.iter().map(|(_, event)| event.detail_type.as_str()).collect();
    assert_eq!(names, ["A", "B"]);
    let rest = store.events_after(events[1].0, 10).await.unwrap();
    assert_eq!(rest[0].1.detail_type, "C");
    let (last, now) = (store.last_sequence().await.unwrap(), store.now());
    assert_eq!(last, rest[0].0);
    assert_eq!(store.prune_events(events[0].0, now, 10).await.unwrap(), 1, "only up to the cursor");
    assert_eq!(store.prune_events(last, now.plus_millis(-1500), 10).await.unwrap(), 1, "only old ones");
    assert_eq!(store.prune_events(last, now.plus_millis(1), 10).await.unwrap(), 1);
    assert_eq!(store.last_sequence().await.unwrap(), last, "numbers do not come back");
    commit(&store, |txn| _ = txn.emit(event("D"))).await.unwrap();
    assert_eq!(store.events_after(0, 10).await.unwrap()[0].0, last + 1);
}

async fn a_job_is_claimed_when_it_is_due_and_once(store: Store, hand: Hand) {
    let start = store.now();
    enqueue(&store, "later", start.as_millis() + 1000).await;
    enqueue(&store, "now", start.as_millis()).await;
    let claimed = store.claim("q", "w", 5000, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|lease| lease.key.as_str()).collect::<Vec<_>>(), ["now"]);
    assert_eq!((claimed[0].attempt, claimed[0].expires_at), (1, start.plus_millis(5000)));
    assert!(store.claim("q", "w2", 5000, 10).await.unwrap().is_empty());
    assert!(store.claim("another", "w", 5000, 10).await.unwrap().is_empty());
    assert_eq!(store.next_due("q").await.unwrap(), Some(start.plus_millis(1000)));
    hand.advance(1000);
    assert_eq!(store.claim("q", "w2", 5000, 10).await.unwrap()[0].key, "later");
    commit(&store, |txn| _ = txn.complete(&claimed[0])).await.unwrap();
    let error = commit(&store, |txn| _ = txn.complete(&claimed[0])).await.unwrap_err();
    assert!(error.is_lease_lost(), "a job completes once");
}

async fn an_expired_lease_passes_on_and_its_holder_commits_nothing(store: Store, hand: Hand) {
    enqueue(&store, "k", 0).await;
    let mut old = store.claim("q", "w1", 1000, 1).await.unwrap().remove(0);
    hand.advance(1001);
    assert!(store.claim("q", "w1", 1000, 1).await.unwrap().is_empty(), "not to the same worker again");
    let new = store.claim("q", "w2", 1000, 1).await.unwrap().remove(0);
    assert!(new.fence > old.fence && new.attempt == 2);
    assert!(store.renew(&mut old, 1000).await.unwrap_err().is_lease_lost());
    for build in [
        txn(|txn| _ = txn.complete(&old)),
        txn(|txn| _ = txn.guard(&old)),
        txn(|txn| _ = txn.release(&old, Timestamp::EPOCH)),
    ] {
        let mut build = build;
        build.put(&note("a", "must not be"));
        assert!(store.commit(build).await.unwrap_err().is_lease_lost());
    }
    assert!(store.get::<Note>("a").await.unwrap().is_none());
    commit(&store, |txn| _ = txn.guard(&new).put(&note("a", "is")).complete(&new)).await.unwrap();
    assert_eq!(store.get::<Note>("a").await.unwrap().unwrap().text, "is");
}

async fn an_expired_lease_that_nobody_took_still_holds(store: Store, hand: Hand) {
    enqueue(&store, "k", 0).await;
    let mut lease = store.claim("q", "w", 1000, 1).await.unwrap().remove(0);
    hand.advance(3_600_000);
    store.renew(&mut lease, 1000).await.unwrap();
    assert_eq!(lease.expires_at, store.now().plus_millis(1000));
    commit(&store, |txn| _ = txn.complete(&lease)).await.unwrap();
    assert_eq!(store.next_due("q").await.unwrap(), None);
}

async fn a_clock_set_back_keeps_leases_with_their_holders(store: Store, hand: Hand) {
    enqueue(&store, "k", 0).await;
    let mut lease = store.claim("q", "w1", 1000, 1).await.unwrap().remove(0);
    hand.advance(-500_000);
    assert!(store.claim("q", "w2", 1000, 1).await.unwrap().is_empty());
    store.renew(&mut lease, 1000).await.unwrap();
    hand.advance(2000);
    assert_eq!(store.claim("q", "w2", 1000, 1).await.unwrap().len(), 1);
}

async fn waking_a_job_makes_it_run_again(store: Store, hand: Hand) {
    let now = store.now().as_millis();
    enqueue(&store, "k", now + 5000).await;
    enqueue(&store, "k", now).await;
    enqueue(&store, "k", now + 9000).await;
    let lease = store.claim("q", "w", 60_000, 9).await.unwrap().remove(0);
    assert_eq!(lease.key, "k", "the earlier time wins");
    let payload = serde_json::json!({"why": "changed"});
    let woken = Job::new("q", "k", store.now()).with_payload(payload.clone());
    commit(&store, |txn| _ = txn.enqueue(woken)).await.unwrap();
    assert!(store.claim("q", "w2", 1000, 1).await.unwrap().is_empty(), "not while it is leased");
    commit(&store, |txn| _ = txn.complete(&lease)).await.unwrap();
    let again = store.claim("q", "w", 1000, 1).await.unwrap().remove(0);
    assert_eq!((again.attempt, again.payload.clone()), (1, payload));
    let timer = Job::new("q", "k", store.now().plus_millis(700));
    commit(&store, |txn| _ = txn.enqueue(timer).complete(&again)).await.unwrap();
    assert!(store.claim("q", "w", 1000, 1).await.unwrap().is_empty());
    hand.advance(700);
    let last = store.claim("q", "w", 1000, 1).await.unwrap().remove(0);
    commit(&store, |txn| _ = txn.complete(&last)).await.unwrap();
    assert_eq!(store.next_due("q").await.unwrap(), None);
}

async fn a_released_job_comes_back_at_its_time_or_when_it_is_woken(store: Store, hand: Hand) {
    enqueue(&store, "k", 0).await;
    let lease = store.claim("q", "w", 60_000, 1).await.unwrap().remove(0);
    let at = store.now().plus_millis(1000);
    commit(&store, |txn| _ = txn.release(&lease, at)).await.unwrap();
    assert!(store.claim("q", "w", 60_000, 1).await.unwrap().is_empty());
    hand.advance(1000);
    let lease = store.claim("q", "w", 60_000, 1).await.unwrap().remove(0);
    assert_eq!(lease.attempt, 2);
    enqueue(&store, "k", store.now().as_millis()).await;
    commit(&store, |txn| _ = txn.release(&lease, at.plus_millis(99_000))).await.unwrap();
    assert_eq!(store.claim("q", "w", 60_000, 1).await.unwrap()[0].attempt, 3);
}

async fn a_cancelled_job_is_gone_even_from_its_holder(store: Store, _: Hand) {
    enqueue(&store, "a", 0).await;
    enqueue(&store, "b", 0).await;
    let leases = store.claim("q", "w", 60_000, 9).await.unwrap();
    commit(&store, |txn| _ = txn.cancel("q", "a").cancel("q", "unknown")).await.unwrap();
    let error = commit(&store, |txn| _ = txn.complete(&leases[0])).await.unwrap_err();
    assert!(error.is_lease_lost());
    commit(&store, |txn| _ = txn.cancel("q", "b").complete(&leases[1])).await.unwrap();
    assert_eq!(store.next_due("q").await.unwrap(), None);
}

async fn a_commit_wakes_who_waits_for_what_it_wrote(store: Store, _: Hand) {
    let (mut queue, mut emitted, mut all) = (store.queue_changed("q"), store.emitted(), store.committed());
    commit(&store, |txn| _ = txn.put(&note("a", ""))).await.unwrap();
    assert!(!all.has_changed().unwrap(), "documents alone wake nobody");
    enqueue(&store, "k", 0).await;
    assert!(queue.has_changed().unwrap() && all.has_changed().unwrap() && !emitted.has_changed().unwrap());
    queue.borrow_and_update();
    all.borrow_and_update();
    commit(&store, |txn| _ = txn.emit(event("E"))).await.unwrap();
    assert!(!queue.has_changed().unwrap() && all.has_changed().unwrap() && emitted.has_changed().unwrap());
    emitted.borrow_and_update();
}

async fn a_commit_tells_who_watches_the_kinds_it_wrote(store: Store, _: Hand) {
    let (mut notes, mut others) = (store.kind_changed(Note::KIND), store.kind_changed(Other::KIND));
    let mut told = |expected: (bool, bool)| {
        let found = (notes.has_changed().unwrap(), others.has_changed().unwrap());
        notes.borrow_and_update();
        others.borrow_and_update();
        assert_eq!(found, expected);
    };
    commit(&store, |txn| _ = txn.create(&note("a", "1"))).await.unwrap();
    told((true, false));
    let seen = store.get::<Note>("a").await.unwrap().unwrap();
    commit(&store, |txn| _ = txn.expect(&seen).put(&Other { id: "a".into() })).await.unwrap();
    told((false, true));
    commit(&store, |txn| _ = txn.replace(&seen, &note("a", "2"))).await.unwrap();
    told((true, false));
    commit(&store, |txn| _ = txn.replace(&seen, &note("a", "3"))).await.unwrap_err();
    told((false, false));
    let seen = store.get::<Note>("a").await.unwrap().unwrap();
    commit(&store, |txn| _ = txn.delete(&seen)).await.unwrap();
    told((true, false));
}

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    on(Options::new(folder.path()), super::$name).await;
                }
            )*
        }
        mod postgres {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    on(Options::database(Cluster::shared().database()), super::$name).await;
                }
            )*
        }
    };
}

async fn on<F: Future<Output = ()>>(options: Options, test: impl FnOnce(Store, Hand) -> F) {
    let hand = Hand(Arc::new(AtomicI64::new(1_000_000)));
    test(Store::open(options.with_clock(Arc::new(hand.clone()))).await.unwrap(), hand).await;
}

conformance!(
    a_document_comes_back_as_it_was_written,
    a_stale_version_conflicts_and_writes_nothing,
    a_document_made_anew_is_not_the_old_one,
    listings_go_by_prefix_in_both_orders_page_by_page,
    keys_are_bytes,
    the_longest_key_is_stored_and_a_longer_one_refused,
    large_documents_make_short_pages,
    of_many_who_create_the_same_document_one_does,
    claims_come_by_time_free_ones_first,
    limits_are_refused_by_name,
    update_retries_until_nobody_interferes,
    update_keeps_deletes_and_guards,
    events_are_numbered_in_order_and_pruned_by_age,
    a_job_is_claimed_when_it_is_due_and_once,
    an_expired_lease_passes_on_and_its_holder_commits_nothing,
    an_expired_lease_that_nobody_took_still_holds,
    a_clock_set_back_keeps_leases_with_their_holders,
    waking_a_job_makes_it_run_again,
    a_released_job_comes_back_at_its_time_or_when_it_is_woken,
    a_cancelled_job_is_gone_even_from_its_holder,
    a_commit_wakes_who_waits_for_what_it_wrote,
    a_commit_tells_who_watches_the_kinds_it_wrote,
);
