//! What a very long stream costs: its writer's flushes, its head, its tail, a time in the middle.
//! `cargo run --release -p towpath-logs --example long_stream [BATCHES]`

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};
use towpath_api::{AuthzRequest, Call, Caller, Clock, Gate, SystemClock, Timestamp};
use towpath_api_logs::*;
use towpath_logs::{Config, LogsService};
use towpath_store::{Options, Store};

struct Anything;

impl Gate for Anything {
    fn check(&self, _: &AuthzRequest, _: &Call) -> Result<(), String> {
        Ok(())
    }
}

fn call() -> Call {
    Call {
        request_id: "bench".into(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        at: Timestamp::EPOCH,
        caller: Caller::Root { account: "000000000000".into() },
        source_ip: None,
        secure: false,
        gate: Arc::new(Anything),
    }
}

fn get() -> GetLogEventsInput {
    GetLogEventsInput {
        log_group_name: Some("g".into()),
        log_stream_name: Some("s".into()),
        limit: Some(100),
        ..Default::default()
    }
}

async fn timed(logs: &LogsService, what: &str, input: GetLogEventsInput) {
    let start = Instant::now();
    let output = logs.get_log_events(&call(), input).await.unwrap();
    let count = output.events.map_or(0, |events| events.len());
    println!("{what:<28} {count} events in {:?}", start.elapsed());
}

#[tokio::main]
async fn main() {
    let batches: i64 = std::env::args().nth(1).map_or(100_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options::new(folder.path())).await.unwrap();
    let logs = LogsService::new(Config::default(), store);
    let (g, s) = (Some("g".to_owned()), Some("s".to_owned()));
    let group = CreateLogGroupInput { log_group_name: g.clone(), ..Default::default() };
    logs.create_log_group(&call(), group).await.unwrap();
    let stream = CreateLogStreamInput { log_group_name: g.clone(), log_stream_name: s.clone() };
    logs.create_log_stream(&call(), stream).await.unwrap();
    let begin = SystemClock.now().as_millis() - batches * 10;
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    for batch in 0..batches {
        let event = |line| InputLogEvent {
            timestamp: Some(begin + batch * 10),
            message: Some(format!("batch {batch} line {line}: a line of a build as builds write them")),
        };
        let input = PutLogEventsInput {
            log_group_name: g.clone(),
            log_stream_name: s.clone(),
            log_events: Some((0..5).map(event).collect()),
            ..Default::default()
        };
        let flush = Instant::now();
        logs.put_log_events(&call(), input).await.unwrap();
        slowest = slowest.max(flush.elapsed());
    }
    let each = start.elapsed() / batches as u32;
    println!("{batches} flushes of 5 lines: {each:?} each, the slowest {slowest:?}");
    timed(&logs, "the tail", get()).await;
    timed(&logs, "the head", GetLogEventsInput { start_from_head: Some(true), ..get() }).await;
    let middle = Some(begin + batches * 5);
    timed(
        &logs,
        "from a time in the middle",
        GetLogEventsInput { start_time: middle, start_from_head: Some(true), ..get() },
    )
    .await;
    timed(&logs, "up to a time in the middle", GetLogEventsInput { end_time: middle, ..get() }).await;
    let whole = GetLogEventsInput { start_from_head: Some(true), limit: None, ..get() };
    timed(&logs, "a whole page", whole).await;
}
