//! The record of events: listing, denial, and pruning behind every subscriber.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use towpath_api::{AuthzRequest, Call, Caller, Clock, Event, Gate, Timestamp};
use towpath_durable::Cursor;
use towpath_events::{Config, Events, Pattern};
use towpath_store::{Options, Store, Txn};

const DAY_MS: i64 = 86_400_000;

#[derive(Clone)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

struct Only(&'static str);

impl Gate for Only {
    fn check(&self, request: &AuthzRequest, _: &Call) -> Result<(), String> {
        if request.action == self.0 { Ok(()) } else { Err("no identity-based policy allows it".into()) }
    }
}

fn call(allowed: &'static str) -> Call {
    Call {
        request_id: "r".into(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        at: Timestamp::EPOCH,
        caller: Caller::Root { account: "000000000000".into() },
        source_ip: None,
        secure: false,
        gate: Arc::new(Only(allowed)),
    }
}

async fn record(count: u64) -> (tempfile::TempDir, Store, Hand, Arc<Events>) {
    let folder = tempfile::tempdir().unwrap();
    let hand = Hand(Arc::new(AtomicI64::new(1_000 * DAY_MS)));
    let store = Store::open(Options::new(folder.path()).with_clock(Arc::new(hand.clone()))).await.unwrap();
    let mut txn = Txn::new();
    for number in 0..count {
        let detail = serde_json::json!({"number": number});
        let origin = ("000000000000", "us-east-1");
        txn.emit(Event::new("aws.test", "Counted", origin, store.now(), Vec::new(), detail));
    }
    store.commit(txn).await.unwrap();
    let events = Events::new(Config { retention_days: 7 }, store.clone());
    (folder, store, hand, events)
}

#[tokio::test]
async fn a_listing_filters_pages_and_goes_on_with_what_is_new() {
    let (_folder, _store, _, events) = record(1200).await;
    let pattern = Pattern::parse(r#"{"detail": {"number": [{"numeric": [">=", 1190]}]}}"#).unwrap();
    let first = events.recent(0, Some(&pattern), 4).await.unwrap();
    assert_eq!(first.events.len(), 4);
    assert!(!first.complete);
    let rest = events.recent(first.next_sequence, Some(&pattern), 100).await.unwrap();
    assert_eq!((rest.events.len(), rest.complete, rest.next_sequence), (6, true, 1200));
    assert_eq!(rest.events[0].event.detail["number"], 1194);
    assert_eq!(rest.to_json()["events"][0]["event"]["detail-type"], "Counted");
    let nothing_new = events.recent(rest.next_sequence, None, 10).await.unwrap();
    assert_eq!((nothing_new.events.len(), nothing_new.next_sequence), (0, 1200));
}

#[tokio::test]
async fn listing_needs_permission_and_a_valid_pattern() {
    let (_folder, _store, _, events) = record(1).await;
    let denied = events.list(&call("s3:GetObject"), 0, None, 10).await.unwrap_err();
    assert_eq!(denied.code, "AccessDeniedException");
    let invalid = events.list(&call("towpath:ListEvents"), 0, Some("{}"), 10).await.unwrap_err();
    assert_eq!(invalid.code, "InvalidEventPatternException");
    assert_eq!(events.list(&call("towpath:ListEvents"), 0, None, 10).await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn only_old_events_that_everyone_has_seen_are_removed() {
    let (_folder, store, hand, events) = record(2500).await;
    assert_eq!(events.prune().await.unwrap(), 0, "young");
    let mut txn = Txn::new();
    txn.put(&Cursor { subscriber: "slow".into(), sequence: 2000 });
    txn.put(&Cursor { subscriber: "fast".into(), sequence: 2500 });
    store.commit(txn).await.unwrap();
    hand.0.fetch_add(8 * DAY_MS, Ordering::SeqCst);
    assert_eq!(events.prune().await.unwrap(), 2000);
    assert_eq!(events.recent(0, None, 1).await.unwrap().events[0].sequence, 2001);
    let mut txn = Txn::new();
    txn.put(&Cursor { subscriber: "slow".into(), sequence: 2500 });
    store.commit(txn).await.unwrap();
    assert_eq!(events.prune().await.unwrap(), 500);
    assert_eq!(events.prune().await.unwrap(), 0);
}
