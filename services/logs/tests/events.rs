//! Writing events and reading them back: order, pages, tokens, times, and writers that overlap.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use std::sync::Arc;
use towpath_api::log_batches::{LogBatch, LogBatches};
use towpath_api_logs::*;
use towpath_logs::{Config, LogsService};

#[tokio::test]
async fn a_follower_sees_each_line_once_and_the_same_token_at_the_end() {
    let fixture = Fixture::with_stream().await;
    let (none, _, mut token) = fixture.get(|input| input.start_from_head = Some(true)).await;
    assert!(none.is_empty());
    let mut seen = Vec::new();
    for round in 0..5_i64 {
        let lines: Vec<String> = (0..3).map(|line| format!("{round}.{line}")).collect();
        // Lines of one millisecond, also across batches: their order is that of their writing.
        let batch: Vec<_> = lines.iter().map(|line| (NOW + round / 2, line.as_str())).collect();
        fixture.put("s", &batch).await;
        let (new, _, next) = fixture
            .get(|input| (input.next_token, input.start_from_head) = (Some(token.clone()), Some(true)))
            .await;
        assert_eq!(new, lines);
        seen.extend(new);
        let (more, _, same) = fixture
            .get(|input| (input.next_token, input.start_from_head) = (Some(next.clone()), Some(true)))
            .await;
        assert!(more.is_empty());
        assert_eq!(same, next, "the same token says that there is nothing more");
        token = next;
    }
    let (all, _, _) = fixture.get(|input| input.start_from_head = Some(true)).await;
    assert_eq!(all, seen);
}

#[tokio::test]
async fn pages_go_forward_from_the_head_and_backward_from_the_tail() {
    let fixture = Fixture::with_stream().await;
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for part in names.chunks(7) {
        let batch: Vec<_> =
            part.iter().map(|name| (NOW + name.parse::<i64>().unwrap(), name.as_str())).collect();
        fixture.put("s", &batch).await;
    }
    let (tail, mut back, forward) = fixture.get(|input| input.limit = Some(10)).await;
    assert_eq!(tail, names[90..], "without a direction: the newest, in the order of time");
    let mut pages = vec![tail];
    loop {
        let (page, next, _) =
            fixture.get(|input| (input.limit, input.next_token) = (Some(10), Some(back.clone()))).await;
        if page.is_empty() {
            assert_eq!(next, back);
            break;
        }
        pages.push(page);
        back = next;
    }
    pages.reverse();
    assert_eq!(pages.concat(), names);
    let (beyond, _, same) = fixture.get(|input| input.next_token = Some(forward.clone())).await;
    assert!(beyond.is_empty() && same == forward);
    let (head, start, mut token) =
        fixture.get(|input| (input.limit, input.start_from_head) = (Some(33), Some(true))).await;
    let mut read = head;
    while read.len() < 100 {
        let (page, _, next) =
            fixture.get(|input| (input.limit, input.next_token) = (Some(33), Some(token.clone()))).await;
        assert!(!page.is_empty());
        read.extend(page);
        token = next;
    }
    assert_eq!(read, names);
    let (before, _, _) = fixture.get(|input| input.next_token = Some(start.clone())).await;
    assert!(before.is_empty(), "nothing is before the head");
}

#[tokio::test]
async fn a_time_range_includes_its_start_and_not_its_end() {
    let fixture = Fixture::with_stream().await;
    for batch in [
        [(NOW, "0"), (NOW + 10, "10")],
        [(NOW + 10, "10b"), (NOW + 20, "20")],
        [(NOW + 30, "30"), (NOW + 30, "30b")],
    ] {
        fixture.put("s", &batch).await;
    }
    for (start, end, expected) in [
        (None, Some(10), vec!["0"]),
        (Some(10), Some(30), vec!["10", "10b", "20"]),
        (Some(11), None, vec!["20", "30", "30b"]),
        (Some(31), None, vec![]),
        (Some(20), Some(20), vec![]),
    ] {
        for head in [true, false] {
            let (messages, _, _) = fixture
                .get(|input| {
                    input.start_time = start.map(|start: i64| NOW + start);
                    input.end_time = end.map(|end: i64| NOW + end);
                    input.start_from_head = Some(head);
                })
                .await;
            assert_eq!(messages, expected, "{start:?}..{end:?} {head}");
        }
    }
}

#[tokio::test]
async fn a_page_holds_one_megabyte() {
    let fixture = Fixture::with_stream().await;
    let large = "x".repeat(500_000);
    for number in 0..4 {
        fixture.put("s", &[(NOW + number, &large), (NOW + number, &large)]).await;
    }
    let mut token = None;
    let mut counts = Vec::new();
    loop {
        let (page, _, next) = fixture
            .get(|input| (input.next_token, input.start_from_head) = (token.clone(), Some(true)))
            .await;
        if page.is_empty() {
            break;
        }
        counts.push(page.len());
        token = Some(next);
    }
    assert_eq!(counts, [2, 2, 2, 2]);
}

/// Deterministic and good enough to shuffle.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64) % limit
    }
}

#[tokio::test]
async fn whatever_overlaps_is_read_in_the_order_of_time_and_nothing_is_lost() {
    for (seed, span) in [(1, 50), (2, 2000), (3, 5), (4, 100_000)] {
        let fixture = Fixture::with_stream().await;
        let mut numbers = Numbers(seed);
        let mut expected = Vec::new();
        for batch in 0..60 {
            let start = NOW + numbers.below(3000);
            let mut times: Vec<i64> = (0..=numbers.below(12)).map(|_| start + numbers.below(span)).collect();
            times.sort_unstable();
            let names: Vec<String> = (0..times.len()).map(|number| format!("{batch}.{number}")).collect();
            let events: Vec<_> = times.iter().copied().zip(names.iter().map(String::as_str)).collect();
            fixture.put("s", &events).await;
            expected.extend(times.into_iter().zip(names));
        }
        // The sort is stable: of one time, what was written first comes first.
        expected.sort_by_key(|(time, _)| *time);
        let expected: Vec<String> = expected.into_iter().map(|(_, name)| name).collect();
        let (all, _, _) = fixture.get(|input| input.start_from_head = Some(true)).await;
        assert_eq!(all, expected, "seed {seed}");
        let (mut pages, mut token) = (Vec::new(), None);
        loop {
            let (page, next, _) =
                fixture.get(|input| (input.limit, input.next_token) = (Some(13), token.clone())).await;
            if page.is_empty() {
                break;
            }
            pages.push(page);
            token = Some(next);
        }
        pages.reverse();
        assert_eq!(pages.concat(), expected, "seed {seed}, backwards");
        let from = NOW + 1000;
        let (late, _, _) =
            fixture.get(|input| (input.start_time, input.start_from_head) = (Some(from), Some(true))).await;
        assert_eq!(late, expected[expected.len() - late.len()..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_stream_do_not_lose_each_others_lines() {
    let fixture = Fixture::with_stream().await;
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let (logs, call) = (fixture.logs.clone(), fixture.call.clone());
            tokio::spawn(async move {
                for line in 0..20 {
                    let message = format!("{writer}.{line}");
                    logs.put_log_events(&call, put_input("s", &[(NOW + line, &message)])).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (mut all, _, _) = fixture.get(|input| input.start_from_head = Some(true)).await;
    assert_eq!(all.len(), 120);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 120);
    let streams = fixture.streams(|_| {}).await.log_streams.unwrap();
    let bytes: i64 = all.iter().map(|line| line.len() as i64 + 26).sum();
    assert_eq!(streams[0].stored_bytes, Some(bytes));
}

#[tokio::test]
async fn a_wrong_batch_is_refused_whole_and_a_late_one_in_part() {
    let fixture = Fixture::with_stream().await;
    let too_large = "x".repeat(1_048_577);
    let over_with_overhead = "x".repeat(1_048_576 - 25);
    for (events, reason) in [
        (vec![(NOW, "b"), (NOW - 1, "a")], "chronological order"),
        (vec![(NOW, "")], "cannot be empty"),
        (vec![(NOW, too_large.as_str())], "Log event too large"),
        (
            vec![(NOW, over_with_overhead.as_str())],
            "Upload too large: 1048577 bytes exceeds limit of 1048576",
        ),
        (vec![(NOW - DAY_MS - 1, "a"), (NOW, "b")], "24 hours"),
        (vec![], "between 1 and 10000"),
        (vec![(NOW, "x"); 10_001], "between 1 and 10000"),
    ] {
        let error = fixture.logs.put_log_events(&fixture.call, put_input("s", &events)).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameterException");
        assert!(error.message.contains(reason), "{error}");
    }
    let events = [(NOW - 15 * DAY_MS, "old"), (NOW, "good"), (NOW + 3 * 3_600_000, "new")];
    let output = fixture.put("s", &events).await;
    let rejected = output.rejected_log_events_info.unwrap();
    assert_eq!(rejected.too_old_log_event_end_index, Some(1));
    assert_eq!(rejected.too_new_log_event_start_index, Some(2));
    let (all, _, _) = fixture.get(|_| {}).await;
    assert_eq!(all, ["good"]);
    let output = fixture.put("s", &[(NOW - 15 * DAY_MS, "old")]).await;
    assert!(output.rejected_log_events_info.is_some());
    let exactly = "x".repeat(1_048_576 - 26);
    assert!(fixture.put("s", &[(NOW, &exactly)]).await.rejected_log_events_info.is_none());
    let entity = PutLogEventsInput { entity: Some(Entity::default()), ..put_input("s", &[(NOW, "x")]) };
    let output = fixture.logs.put_log_events(&fixture.call, entity).await.unwrap();
    assert!(output.rejected_entity_info.is_some(), "what is not kept is said");
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let fixture = Fixture::with_stream().await;
    let digits = "0".repeat(56);
    for token in ["f", "f/1/s", "x/1/s", &format!("f/{digits}"), &format!("q/{digits}/s"), "f/-1/s", "💥"] {
        let input = GetLogEventsInput {
            log_group_name: Some("g".into()),
            log_stream_name: Some("s".into()),
            next_token: Some((*token).to_owned()),
            ..Default::default()
        };
        let error = fixture.logs.get_log_events(&fixture.call, input).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameterException", "{token}");
    }
}

fn batch(writer: &str, number: Option<u64>, text: &str) -> LogBatch {
    LogBatch {
        group: "g".into(),
        stream: "s".into(),
        writer: writer.into(),
        number,
        limit_bytes: 1000,
        events: vec![(NOW, text.into())],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_numbered_batch_is_stored_once_however_often_it_is_sent() {
    let fixture = Fixture::with_stream().await;
    let put = |service: Arc<LogsService>, batch| {
        let call = fixture.call.clone();
        tokio::spawn(async move { service.put_batch(&call, batch).await })
    };
    // Sent again while the first is under way, and after a restart: another service over the same store.
    let again = LogsService::new(Config::default(), fixture.store.clone());
    for number in 1..=20 {
        let one = batch("w", Some(number), &format!("{number}"));
        let twice = [put(fixture.logs.clone(), one.clone()), put(again.clone(), one.clone())];
        for sent in twice {
            sent.await.unwrap().unwrap();
        }
        again.put_batch(&fixture.call, one).await.unwrap();
    }
    // One that comes late, after it was given up; another writer's; and two without a number.
    again.put_batch(&fixture.call, batch("w", Some(3), "late")).await.unwrap();
    again.put_batch(&fixture.call, batch("other", Some(1), "other")).await.unwrap();
    again.put_batch(&fixture.call, batch("other", None, "plain")).await.unwrap();
    again.put_batch(&fixture.call, batch("other", None, "plain")).await.unwrap();
    again.put_batch(&fixture.call, batch("w", Some(20), "20")).await.unwrap();
    let (all, _, _) = fixture.get(|input| input.start_from_head = Some(true)).await;
    let mut expected: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    expected.extend(["other", "plain", "plain"].map(str::to_owned));
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_writers_batches_are_bounded_together() {
    let fixture = Fixture::with_stream().await;
    let text = "x".repeat(400 - 26);
    for number in [1, 2, 2] {
        fixture.logs.put_batch(&fixture.call, batch("w", Some(number), &text)).await.unwrap();
    }
    for number in [Some(3), None] {
        let error = fixture.logs.put_batch(&fixture.call, batch("w", number, &text)).await.unwrap_err();
        assert_eq!(error.code, "LogFullException");
    }
    fixture.logs.put_batch(&fixture.call, batch("w", Some(3), &"x".repeat(200 - 26))).await.unwrap();
    fixture.logs.put_batch(&fixture.call, batch("next", Some(1), &text)).await.unwrap();
    let denied = call_with(|_, _| false);
    let error = fixture.logs.put_batch(&denied, batch("w", Some(4), "x")).await.unwrap_err();
    assert_eq!(error.code, "AccessDeniedException");
    let (all, _, _) = fixture.get(|_| {}).await;
    assert_eq!(all.len(), 4);
}
