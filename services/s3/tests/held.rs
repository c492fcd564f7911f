//! The door for services in the same process: what a holder stores that lost its job (nothing), and what is
//! left of small content that was replaced or deleted (nothing). When the sweep comes again: a day later, by any clock.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use towpath_api::objects::{Objects, PutOptions};
use towpath_api::{
    ApiError, AuthzRequest, Call, Caller, Clock, Credential, Gate, Identity, SessionCredentials, Timestamp,
    async_trait, id,
};
use towpath_s3::{Config, S3};
use towpath_store::blobs::Blobs;
use towpath_store::{Job, Options, Store, Txn, backup};

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

struct Everything;

impl Gate for Everything {
    fn check(&self, _: &AuthzRequest, _: &Call) -> Result<(), String> {
        Ok(())
    }
}

/// Calls in process are authenticated already.
struct Nobody;

#[async_trait]
impl Identity for Nobody {
    async fn credential(&self, _: &str, _: Option<&str>) -> Result<Option<Credential>, ApiError> {
        Ok(None)
    }

    async fn service_specific(&self, _: &str, _: &str, _: &str) -> Result<Option<Credential>, ApiError> {
        Ok(None)
    }

    async fn service_call(&self, _: &str, _: &str, _: &str) -> Result<Call, ApiError> {
        Err(ApiError::access_denied("nobody"))
    }

    async fn service_credentials(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: u32,
    ) -> Result<SessionCredentials, ApiError> {
        Err(ApiError::access_denied("nobody"))
    }
}

/// A service on a folder of its own, and root's call.
async fn service(folder: &Path, clock: Arc<TestClock>) -> (Store, Arc<S3>, Call) {
    let options = Options::new(folder.join("store")).with_clock(clock.clone());
    let store = Store::open(options).await.unwrap();
    let blobs = Blobs::open(folder.join("blobs")).await.unwrap();
    let config = Config { account: "000000000000".into(), region: "us-east-1".into(), domains: Vec::new() };
    let s3 = S3::new(store.clone(), blobs, Arc::new(Nobody), config);
    let call = Call {
        request_id: id::uuid(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        at: clock.now(),
        caller: Caller::Root { account: "000000000000".into() },
        source_ip: None,
        secure: true,
        gate: Arc::new(Everything),
    };
    s3.create_bucket("bucket").await.unwrap();
    (store, s3, call)
}

#[tokio::test]
async fn small_content_goes_with_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock(AtomicI64::new(1_795_169_472_000)));
    let (_store, s3, call) = service(folder.path(), clock).await;
    let kept = async |at: &str| {
        let copy = folder.path().join(at);
        backup::snapshot(folder.path().join("store"), copy.clone()).await.unwrap();
        backup::keys_of(copy, "s3.small-content").await.unwrap().len()
    };
    let put = async |key: &str, content: Bytes| {
        s3.put_bytes(&call, "bucket", key, content, PutOptions::default()).await.unwrap();
    };
    put("one", Bytes::from("first")).await;
    put("two", Bytes::from("other")).await;
    assert_eq!(kept("made").await, 2);
    put("one", Bytes::from("second")).await;
    assert_eq!(kept("replaced").await, 2);
    put("one", Bytes::from(vec![b'x'; 100_000])).await;
    assert_eq!(kept("grown").await, 1);
    put("one", Bytes::from("third")).await;
    let file = folder.path().join("file");
    s3.get_to_file(&call, "bucket", "one", None, &file).await.unwrap();
    assert_eq!(std::fs::read(file).unwrap(), b"third");
    s3.delete(&call, "bucket", "one").await.unwrap();
    assert_eq!(kept("deleted").await, 1);
    let lone = s3.get_bytes(&call, "bucket", "two", None, 100).await.unwrap().1;
    assert_eq!(lone, "other");
}

#[tokio::test]
async fn an_object_is_recorded_only_while_its_job_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock(AtomicI64::new(1_795_169_472_000)));
    let (store, s3, call) = service(folder.path(), clock.clone()).await;
    let mut txn = Txn::new();
    txn.enqueue(Job::new("work", "one", clock.now()));
    store.commit(txn).await.unwrap();
    let frozen = store.claim("work", "a", 1000, 1).await.unwrap().remove(0);
    let put = async |lease: &towpath_store::Lease, text: &'static str| {
        let objects = s3.held(lease.clone());
        objects.put_bytes(&call, "bucket", "key", Bytes::from(text), PutOptions::default()).await
    };
    put(&frozen, "by the first").await.unwrap();
    clock.0.fetch_add(2000, Ordering::SeqCst);
    let taken = store.claim("work", "b", 1000, 1).await.unwrap().remove(0);
    put(&taken, "by the second").await.unwrap();
    let late = put(&frozen, "too late").await.unwrap_err();
    assert_eq!((late.code.as_ref(), late.status), ("OperationAborted", 409));
    let (_, found) = s3.get_bytes(&call, "bucket", "key", None, 100).await.unwrap();
    assert_eq!(found, "by the second");
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_make_the_sweep_due_at_once() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock(AtomicI64::new(1_795_169_472_000)));
    let wall = Arc::new(TestClock(AtomicI64::new(1_795_169_472_000 - 2 * DAY_MS)));
    let options = Options::new(folder.path().join("store")).with_clock(clock.clone()).with_wall(wall);
    let store = Store::open(options).await.unwrap();
    let blobs = Blobs::open(folder.path().join("blobs")).await.unwrap();
    let config = Config { account: "000000000000".into(), region: "us-east-1".into(), domains: Vec::new() };
    let s3 = S3::new(store.clone(), blobs, Arc::new(Nobody), config);
    let stop = towpath_durable::Shutdown::new();
    let running = tokio::spawn(s3.run(stop.clone()));
    let tomorrow = clock.now().plus_millis(DAY_MS);
    let came = async {
        while store.next_due("s3.sweep").await.unwrap() != Some(tomorrow) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), came)
        .await
        .expect("the next sweep is tomorrow's");
    stop.trigger();
    running.await.unwrap();
}
