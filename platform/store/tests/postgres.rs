//! What only a database that several processes share can get wrong. Two stores on one database stand for
//! two processes: they share nothing but it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use towpath_api::{Event, Timestamp};
use towpath_store::{Document, Job, Options, Order, Store, StoreError, Txn};
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

fn note(id: &str, text: &str) -> Note {
    Note { id: id.into(), text: text.into() }
}

fn event(name: &str) -> Event {
    let time = Timestamp::from_millis(1000);
    Event::new("aws.test", name, ("000000000000", "us-east-1"), time, Vec::new(), serde_json::json!({}))
}

async fn commit(store: &Store, build: impl FnOnce(&mut Txn)) -> Result<(), StoreError> {
    let mut txn = Txn::new();
    build(&mut txn);
    store.commit(txn).await
}

async fn open(url: &str) -> Store {
    Store::open(Options::database(url)).await.unwrap()
}

fn database_of(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

/// Waits for a condition that another process brings about.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn changed(what: &str, receiver: &mut watch::Receiver<u64>) {
    let waited = tokio::time::timeout(Duration::from_secs(60), receiver.changed()).await;
    waited.unwrap_or_else(|_| panic!("nobody was told within a minute: {what}")).unwrap();
}

/// A commit that hangs just before its end must not let later numbers be seen first: a subscriber would
/// move its cursor beyond what then appears behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_seen_before_one_with_a_smaller_number() {
    let url = Cluster::shared().database();
    let stores = [open(&url).await, open(&url).await, open(&url).await];
    let database = database_of(&url).to_owned();
    // Every commit that emits takes a moment more or less between its number and its end.
    Cluster::shared().sql(
        &database,
        "CREATE FUNCTION towpath.dawdle() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(random() * 0.01); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON towpath.outbox
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION towpath.dawdle()",
    );
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (store, done) = (open(&url).await, done.clone());
        tokio::spawn(async move {
            let (mut cursor, mut seen) = (0, Vec::new());
            loop {
                let last = done.load(Ordering::Acquire);
                for (sequence, _) in store.events_after(cursor, 100).await.unwrap() {
                    seen.push(sequence);
                    cursor = sequence;
                }
                if last {
                    return seen;
                }
            }
        })
    };
    let writers: Vec<_> = stores
        .iter()
        .map(|store| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..40 {
                    commit(&store, |txn| _ = txn.emit(event(&number.to_string()))).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Release);
    let seen = reader.await.unwrap();
    assert_eq!(seen, (1..=120).collect::<Vec<u64>>(), "none is skipped, none is seen twice");
}

/// The same, made certain: the first commit is held at its end by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_event_waits_for_an_earlier_one_that_is_not_visible_yet() {
    let url = Cluster::shared().database();
    let (first, second, third) = (open(&url).await, open(&url).await, open(&url).await);
    let database = database_of(&url).to_owned();
    Cluster::shared().sql(
        &database,
        "CREATE TABLE public.gate (open boolean); INSERT INTO public.gate VALUES (false);
         CREATE FUNCTION towpath.wait() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN WHILE NOT (SELECT open FROM public.gate) LOOP PERFORM pg_sleep(0.01); END LOOP;
                RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON towpath.outbox DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.event LIKE '%Slow%') EXECUTE FUNCTION towpath.wait()",
    );
    let slow = {
        let first = first.clone();
        tokio::spawn(async move { commit(&first, |txn| _ = txn.emit(event("Slow"))).await })
    };
    let waiting = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND state <> 'idle'
                   AND datname = current_database()";
        Cluster::shared().sql(&database, sql)
    };
    until("the first commit is at its end", async || waiting() != "0").await;
    let fast = {
        let second = second.clone();
        tokio::spawn(async move { commit(&second, |txn| _ = txn.emit(event("Fast"))).await })
    };
    // A commit that emits nothing is not held up by those that do.
    commit(&third, |txn| _ = txn.put(&note("a", ""))).await.unwrap();
    until("the second commit has its number or waits for it", async || {
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                       AND datname = current_database()";
        fast.is_finished() || Cluster::shared().sql(&database, blocked) != "0"
    })
    .await;
    assert!(second.events_after(0, 10).await.unwrap().is_empty(), "the second is seen before the first");
    Cluster::shared().sql(&database, "UPDATE public.gate SET open = true");
    slow.await.unwrap().unwrap();
    fast.await.unwrap().unwrap();
    let events = first.events_after(0, 10).await.unwrap();
    let names: Vec<_> = events.iter().map(|(number, event)| (*number, event.detail_type.as_str())).collect();
    assert_eq!(names, [(1, "Slow"), (2, "Fast")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_one_process_wake_those_who_wait_in_another() {
    let url = Cluster::shared().database();
    let (here, there) = (open(&url).await, open(&url).await);
    let (mut queue, mut other) = (there.queue_changed("q"), there.queue_changed("other"));
    let (mut emitted, mut all) = (there.emitted(), there.committed());
    let mut kind = there.kind_changed(Note::KIND);
    commit(&here, |txn| _ = txn.enqueue(Job::new("q", "k", Timestamp::EPOCH))).await.unwrap();
    changed("of a job", &mut queue).await;
    changed("of a commit", &mut all).await;
    commit(&here, |txn| _ = txn.emit(event("E"))).await.unwrap();
    changed("of an event", &mut emitted).await;
    assert!(!kind.has_changed().unwrap() && !other.has_changed().unwrap(), "told of what did not happen");
    commit(&here, |txn| _ = txn.put(&note("a", "1"))).await.unwrap();
    changed("of a document", &mut kind).await;
    // More names than a notification holds: then everybody is woken.
    let mut many = Txn::new();
    (0..300).for_each(|number| _ = many.cancel(&format!("{number}{}", "x".repeat(50)), "k"));
    many.put(&note("a", "2"));
    here.commit(many).await.unwrap();
    changed("of anything", &mut other).await;
    assert_eq!(there.get::<Note>("a").await.unwrap().unwrap().text, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_jobs_and_none_gets_one_twice() {
    let url = Cluster::shared().database();
    let stores = [open(&url).await, open(&url).await];
    let mut txn = Txn::new();
    (0..200).for_each(|number| _ = txn.enqueue(Job::new("q", number.to_string(), Timestamp::EPOCH)));
    stores[0].commit(txn).await.unwrap();
    let claimed = Arc::new(Mutex::new(Vec::new()));
    let workers: Vec<_> = (0..8)
        .map(|number: usize| {
            let (store, claimed) = (stores[number % 2].clone(), claimed.clone());
            tokio::spawn(async move {
                loop {
                    let leases = store.claim("q", &number.to_string(), 60_000, 3).await.unwrap();
                    if leases.is_empty() && store.next_due("q").await.unwrap() > Some(store.now()) {
                        return;
                    }
                    for lease in leases {
                        claimed.lock().unwrap().push((lease.key, lease.fence));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let claimed = claimed.lock().unwrap();
    let keys: BTreeSet<_> = claimed.iter().map(|(key, _)| key).collect();
    let fences: BTreeSet<_> = claimed.iter().map(|(_, fence)| fence).collect();
    assert_eq!((claimed.len(), keys.len(), fences.len()), (200, 200, 200));
}

/// Each transfer reads two documents and moves something from one to the other: what is lost or made shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectations_hold_between_processes() {
    const NOTES: usize = 6;
    let url = Cluster::shared().database();
    let stores = [open(&url).await, open(&url).await, open(&url).await];
    for number in 0..NOTES {
        commit(&stores[0], |txn| _ = txn.create(&note(&number.to_string(), "100"))).await.unwrap();
    }
    let workers: Vec<_> = (0..9)
        .map(|worker| {
            let store = stores[worker % 3].clone();
            tokio::spawn(async move {
                let mut moved = 0;
                for turn in 0.. {
                    let (from, to) = ((worker + turn) % NOTES, (worker * 5 + turn * 3 + 1) % NOTES);
                    if from == to {
                        continue;
                    }
                    let one = store.get::<Note>(&from.to_string()).await.unwrap().unwrap();
                    let two = store.get::<Note>(&to.to_string()).await.unwrap().unwrap();
                    let less = one.text.parse::<i64>().unwrap() - 1;
                    let more = two.text.parse::<i64>().unwrap() + 1;
                    let mut txn = Txn::new();
                    txn.replace(&one, &note(&one.id, &less.to_string()));
                    txn.replace(&two, &note(&two.id, &more.to_string()));
                    match store.commit(txn).await {
                        Ok(()) => moved += 1,
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                    if moved == 15 {
                        return;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let notes = stores[1].list::<Note>("", None, 100, Order::Ascending).await.unwrap().items;
    assert_eq!(notes.iter().map(|note| note.text.parse::<i64>().unwrap()).sum::<i64>(), 100 * NOTES as i64);
}

/// Groups beyond the number of single locks take one for everything; both kinds must see each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transactions_and_small_ones_exclude_each_other() {
    const NOTES: usize = 200;
    const ROUNDS: usize = 12;
    let url = Cluster::shared().database();
    let (large, small) = (open(&url).await, open(&url).await);
    let mut txn = Txn::new();
    (0..NOTES).for_each(|number| _ = txn.create(&note(&format!("{number:03}"), "0")));
    large.commit(txn).await.unwrap();
    let more = |note: &Note| {
        let text = (note.text.parse::<usize>().unwrap() + 1).to_string();
        Note { id: note.id.clone(), text }
    };
    let everything = tokio::spawn(async move {
        let mut rounds = 0;
        while rounds < ROUNDS {
            let notes = large.list::<Note>("", None, NOTES, Order::Ascending).await.unwrap().items;
            let mut txn = Txn::new();
            notes.iter().for_each(|seen| _ = txn.replace(seen, &more(seen)));
            match large.commit(txn).await {
                Ok(()) => rounds += 1,
                Err(error) => assert!(error.is_conflict(), "{error}"),
            }
        }
    });
    let mut alone = 0;
    while !everything.is_finished() {
        let seen = small.get::<Note>("100").await.unwrap().unwrap();
        match commit(&small, |txn| _ = txn.replace(&seen, &more(&seen))).await {
            Ok(()) => alone += 1,
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
        // Else the large ones would never find everything as they read it.
        tokio::time::sleep(Duration::from_millis(alone as u64 % 40)).await;
    }
    everything.await.unwrap();
    let common = small.get::<Note>("100").await.unwrap().unwrap();
    assert_eq!(common.text, (ROUNDS + alone).to_string(), "{alone} alone");
    assert_eq!(small.get::<Note>("101").await.unwrap().unwrap().text, ROUNDS.to_string());
}
