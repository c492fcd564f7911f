//! A service on a store of its own, a clock that is moved by hand, and callers with one policy each.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use towpath_api::{AuthzRequest, Call, Caller, Clock, Gate, Timestamp};
use towpath_api_logs::*;
use towpath_durable::Shutdown;
use towpath_logs::{Config, LogsService};
use towpath_store::{Options, Store};

pub const NOW: i64 = 1_800_000_000_000;
pub const MINUTE_MS: i64 = 60_000;
pub const DAY_MS: i64 = 86_400_000;

#[derive(Clone)]
pub struct Hand(Arc<AtomicI64>);

impl Hand {
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Allows what the function allows.
pub struct Policy(pub fn(action: &str, resource: &str) -> bool);

impl Gate for Policy {
    fn check(&self, request: &AuthzRequest, _: &Call) -> Result<(), String> {
        let allowed = (self.0)(request.action, request.resource);
        if allowed { Ok(()) } else { Err("no identity-based policy allows the action".into()) }
    }
}

pub fn call_with(policy: fn(&str, &str) -> bool) -> Call {
    Call {
        request_id: "r".into(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        at: Timestamp::EPOCH,
        caller: Caller::Root { account: "000000000000".into() },
        source_ip: None,
        secure: false,
        gate: Arc::new(Policy(policy)),
    }
}

pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub hand: Hand,
    pub logs: Arc<LogsService>,
    pub call: Call,
    pub shutdown: Shutdown,
}

impl Fixture {
    pub async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let hand = Hand(Arc::new(AtomicI64::new(NOW)));
        let store =
            Store::open(Options::new(folder.path()).with_clock(Arc::new(hand.clone()))).await.unwrap();
        let logs = LogsService::new(Config::default(), store.clone());
        Fixture { folder, store, hand, logs, call: call_with(|_, _| true), shutdown: Shutdown::new() }
    }

    /// With the group `g` and the stream `s`.
    pub async fn with_stream() -> Fixture {
        let fixture = Fixture::new().await;
        fixture.create_group("g").await;
        fixture.create_stream("g", "s").await;
        fixture
    }

    pub async fn create_group(&self, name: &str) {
        let input = CreateLogGroupInput { log_group_name: Some(name.into()), ..Default::default() };
        self.logs.create_log_group(&self.call, input).await.unwrap();
    }

    pub async fn create_stream(&self, group: &str, name: &str) {
        let input =
            CreateLogStreamInput { log_group_name: Some(group.into()), log_stream_name: Some(name.into()) };
        self.logs.create_log_stream(&self.call, input).await.unwrap();
    }

    pub async fn put(&self, stream: &str, events: &[(i64, &str)]) -> PutLogEventsOutput {
        self.logs.put_log_events(&self.call, put_input(stream, events)).await.unwrap()
    }

    pub async fn get(&self, edit: impl FnOnce(&mut GetLogEventsInput)) -> (Vec<String>, String, String) {
        let mut input = GetLogEventsInput {
            log_group_name: Some("g".into()),
            log_stream_name: Some("s".into()),
            ..Default::default()
        };
        edit(&mut input);
        let output = self.logs.get_log_events(&self.call, input).await.unwrap();
        let messages = output.events.unwrap().into_iter().map(|event| event.message.unwrap()).collect();
        (messages, output.next_backward_token.unwrap(), output.next_forward_token.unwrap())
    }

    pub async fn streams(&self, edit: impl FnOnce(&mut DescribeLogStreamsInput)) -> DescribeLogStreamsOutput {
        let mut input = DescribeLogStreamsInput { log_group_name: Some("g".into()), ..Default::default() };
        edit(&mut input);
        self.logs.describe_log_streams(&self.call, input).await.unwrap()
    }

    pub fn run(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.logs.clone().run(self.shutdown.clone()))
    }
}

pub fn put_input(stream: &str, events: &[(i64, &str)]) -> PutLogEventsInput {
    let event = |(time, message): &(i64, &str)| InputLogEvent {
        timestamp: Some(*time),
        message: Some((*message).to_owned()),
    };
    PutLogEventsInput {
        log_group_name: Some("g".into()),
        log_stream_name: Some(stream.into()),
        log_events: Some(events.iter().map(event).collect()),
        ..Default::default()
    }
}
