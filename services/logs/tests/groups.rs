//! Groups and streams: their life, their lists, retention, tags, and who may do what.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use std::collections::BTreeMap;
use std::time::Duration;
use towpath_api::{ApiError, Timestamp};
use towpath_api_logs::*;

async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never came true");
}

fn group_named(name: &str) -> CreateLogGroupInput {
    CreateLogGroupInput { log_group_name: Some(name.into()), ..Default::default() }
}

async fn describe(
    fixture: &Fixture,
    edit: impl FnOnce(&mut DescribeLogGroupsInput),
) -> DescribeLogGroupsOutput {
    let mut input = DescribeLogGroupsInput::default();
    edit(&mut input);
    fixture.logs.describe_log_groups(&fixture.call, input).await.unwrap()
}

fn names(output: &DescribeLogGroupsOutput) -> Vec<&str> {
    output.log_groups.as_ref().unwrap().iter().map(|group| group.log_group_name.as_deref().unwrap()).collect()
}

#[tokio::test]
async fn groups_are_created_once_described_and_found() {
    let fixture = Fixture::new().await;
    for name in ["/aws/codebuild/b", "/aws/codebuild/a", "app"] {
        fixture.create_group(name).await;
    }
    let again = fixture.logs.create_log_group(&fixture.call, group_named("app")).await.unwrap_err();
    assert_eq!(
        (again.code.as_ref(), again.message.as_str()),
        ("ResourceAlreadyExistsException", "The specified log group already exists")
    );
    let all = describe(&fixture, |_| {}).await;
    assert_eq!(names(&all), ["/aws/codebuild/a", "/aws/codebuild/b", "app"]);
    let app = &all.log_groups.as_ref().unwrap()[2];
    assert_eq!(app.arn.as_deref(), Some("arn:aws:logs:us-east-1:000000000000:log-group:app:*"));
    assert_eq!(app.log_group_arn.as_deref(), Some("arn:aws:logs:us-east-1:000000000000:log-group:app"));
    assert_eq!((app.creation_time, app.stored_bytes, app.retention_in_days), (Some(NOW), Some(0), None));
    assert_eq!(
        names(&describe(&fixture, |input| input.log_group_name_prefix = Some("/aws/".into())).await).len(),
        2
    );
    assert_eq!(
        names(&describe(&fixture, |input| input.log_group_name_pattern = Some("build/b".into())).await),
        ["/aws/codebuild/b"]
    );
    let identifiers =
        Some(vec!["app".into(), "arn:aws:logs:us-east-1:000000000000:log-group:/aws/codebuild/a:*".into()]);
    assert_eq!(names(&describe(&fixture, |input| input.log_group_identifiers = identifiers).await).len(), 2);
    let first = describe(&fixture, |input| input.limit = Some(2)).await;
    assert_eq!(names(&first).len(), 2);
    let rest = describe(&fixture, |input| input.next_token = first.next_token.clone()).await;
    assert_eq!((names(&rest), rest.next_token.clone()), (vec!["app"], None));
    let exact = describe(&fixture, |input| input.limit = Some(3)).await;
    assert_eq!(exact.next_token, None, "no token where nothing follows");
}

#[tokio::test]
async fn streams_are_described_by_name_and_by_their_last_event() {
    let fixture = Fixture::with_stream().await;
    fixture.create_stream("g", "t").await;
    fixture.create_stream("g", "build/1").await;
    fixture.put("s", &[(NOW - 500, "first"), (NOW - 100, "last")]).await;
    fixture.put("t", &[(NOW - 200, "x")]).await;
    let names = |output: DescribeLogStreamsOutput| -> Vec<String> {
        output.log_streams.unwrap().into_iter().map(|stream| stream.log_stream_name.unwrap()).collect()
    };
    assert_eq!(names(fixture.streams(|_| {}).await), ["build/1", "s", "t"]);
    assert_eq!(names(fixture.streams(|input| input.descending = Some(true)).await), ["t", "s", "build/1"]);
    assert_eq!(
        names(fixture.streams(|input| input.log_stream_name_prefix = Some("b".into())).await),
        ["build/1"]
    );
    let by_time = |input: &mut DescribeLogStreamsInput| {
        (input.order_by, input.descending, input.limit) = (Some("LastEventTime".into()), Some(true), Some(2));
    };
    let page = fixture.streams(by_time).await;
    let token = page.next_token.clone();
    assert_eq!(names(page), ["s", "t"]);
    let page = fixture.streams(|input| {
        by_time(input);
        input.next_token = token;
    });
    assert_eq!(names(page.await), ["build/1"]);
    let stream = fixture
        .streams(|input| input.log_stream_name_prefix = Some("s".into()))
        .await
        .log_streams
        .unwrap()
        .remove(0);
    assert_eq!(stream.arn.as_deref(), Some("arn:aws:logs:us-east-1:000000000000:log-group:g:log-stream:s"));
    assert_eq!(
        (stream.first_event_timestamp, stream.last_event_timestamp),
        (Some(NOW - 500), Some(NOW - 100))
    );
    assert_eq!((stream.last_ingestion_time, stream.stored_bytes), (Some(NOW), Some(9 + 2 * 26)));
    assert_eq!(describe(&fixture, |_| {}).await.log_groups.unwrap()[0].stored_bytes, Some(9 + 2 * 26 + 27));
    let both = DescribeLogStreamsInput {
        log_group_identifier: Some("g".into()),
        log_stream_name_prefix: Some("s".into()),
        order_by: Some("LastEventTime".into()),
        ..Default::default()
    };
    let error = fixture.logs.describe_log_streams(&fixture.call, both).await.unwrap_err();
    assert_eq!(error.message, "Cannot order by LastEventTime with a logStreamNamePrefix.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_gone_at_once_and_its_space_soon() {
    let fixture = Fixture::with_stream().await;
    for number in 0..80 {
        fixture.put("s", &[(NOW + number, "line")]).await;
    }
    let delete = DeleteLogGroupInput { log_group_name: Some("g".into()) };
    fixture.logs.delete_log_group(&fixture.call, delete.clone()).await.unwrap();
    let error = fixture.logs.delete_log_group(&fixture.call, delete).await.unwrap_err();
    assert_eq!(
        (error.code.as_ref(), error.message.as_str()),
        ("ResourceNotFoundException", "The specified log group does not exist.")
    );
    fixture.create_group("g").await;
    let error = fixture.logs.put_log_events(&fixture.call, put_input("s", &[(NOW, "x")])).await.unwrap_err();
    assert_eq!(error.message, "The specified log stream does not exist.");
    fixture.create_stream("g", "s").await;
    fixture.put("s", &[(NOW, "new")]).await;
    let running = fixture.run();
    until(async || fixture.store.next_due("logs/purge").await.unwrap().is_none()).await;
    let (messages, _, _) = fixture.get(|_| {}).await;
    assert_eq!(messages, ["new"], "the new stream of that name is another");
    let delete = DeleteLogStreamInput { log_group_name: Some("g".into()), log_stream_name: Some("s".into()) };
    fixture.logs.delete_log_stream(&fixture.call, delete).await.unwrap();
    until(async || fixture.store.next_due("logs/purge").await.unwrap().is_none()).await;
    assert!(fixture.streams(|_| {}).await.log_streams.unwrap().is_empty());
    fixture.shutdown.trigger();
    running.await.unwrap();
    fixture.store.close().await;
    let database = std::fs::read(fixture.folder.path().join("towpath.db")).unwrap();
    assert!(database.starts_with(b"SQLite"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_hides_at_once_and_removes_soon() {
    let fixture = Fixture::with_stream().await;
    fixture.put("s", &[(NOW - 2 * DAY_MS, "old")]).await;
    fixture.put("s", &[(NOW - DAY_MS - 1, "straddles"), (NOW - 10, "young")]).await;
    let put = |days: i64| PutRetentionPolicyInput {
        log_group_name: Some("g".into()),
        retention_in_days: Some(days),
    };
    let error = fixture.logs.put_retention_policy(&fixture.call, put(2)).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterException");
    fixture.logs.put_retention_policy(&fixture.call, put(1)).await.unwrap();
    let (messages, _, _) = fixture.get(|_| {}).await;
    assert_eq!(messages, ["young"]);
    let rejected = fixture.put("s", &[(NOW - 2 * DAY_MS, "late")]).await.rejected_log_events_info.unwrap();
    assert_eq!(rejected.expired_log_event_end_index, Some(1));
    let running = fixture.run();
    let bytes = async || fixture.streams(|_| {}).await.log_streams.unwrap()[0].stored_bytes;
    until(async || bytes().await == Some(14 + 2 * 26)).await;
    // The round that removed them has named the next one's time.
    let due = async || fixture.store.next_due("logs/expiry").await.unwrap();
    until(async || due().await == Some(Timestamp::from_millis(NOW + 60 * MINUTE_MS))).await;
    fixture.hand.advance(2 * DAY_MS);
    fixture.store.wake_all();
    until(async || bytes().await == Some(0)).await;
    let stream = fixture.streams(|_| {}).await.log_streams.unwrap().remove(0);
    assert_eq!((stream.first_event_timestamp, stream.last_event_timestamp), (None, None));
    let delete = DeleteRetentionPolicyInput { log_group_name: Some("g".into()) };
    fixture.logs.delete_retention_policy(&fixture.call, delete).await.unwrap();
    until(async || due().await.is_none()).await;
    assert_eq!(describe(&fixture, |_| {}).await.log_groups.unwrap()[0].retention_in_days, None);
    fixture.shutdown.trigger();
    running.await.unwrap();
}

#[tokio::test]
async fn tags_are_kept_by_group() {
    let fixture = Fixture::new().await;
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    let input = CreateLogGroupInput { tags: Some(tags(&[("a", "1")])), ..group_named("g") };
    fixture.logs.create_log_group(&fixture.call, input).await.unwrap();
    let arn = Some("arn:aws:logs:us-east-1:000000000000:log-group:g".to_owned());
    let tag =
        |pairs: BTreeMap<String, String>| TagResourceInput { resource_arn: arn.clone(), tags: Some(pairs) };
    fixture.logs.tag_resource(&fixture.call, tag(tags(&[("b", "2"), ("a", "3")]))).await.unwrap();
    let untag =
        UntagResourceInput { resource_arn: arn.clone(), tag_keys: Some(vec!["b".into(), "none".into()]) };
    fixture.logs.untag_resource(&fixture.call, untag).await.unwrap();
    let list = ListTagsForResourceInput { resource_arn: arn.clone() };
    let found = fixture.logs.list_tags_for_resource(&fixture.call, list).await.unwrap();
    assert_eq!(found.tags.unwrap(), tags(&[("a", "3")]));
    let reserved = fixture.logs.tag_resource(&fixture.call, tag(tags(&[("aws:x", "1")]))).await.unwrap_err();
    assert_eq!(reserved.code, "InvalidParameterException");
    let many: BTreeMap<String, String> =
        (0..50).map(|number| (format!("k{number}"), String::new())).collect();
    assert_eq!(
        fixture.logs.tag_resource(&fixture.call, tag(many)).await.unwrap_err().code,
        "TooManyTagsException"
    );
    let elsewhere = ListTagsForResourceInput { resource_arn: Some("arn:aws:s3:::bucket".into()) };
    let error = fixture.logs.list_tags_for_resource(&fixture.call, elsewhere).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterException");
}

#[tokio::test]
async fn what_is_not_done_is_refused_by_name() {
    let fixture = Fixture::new().await;
    for input in [
        CreateLogGroupInput { kms_key_id: Some("k".into()), ..group_named("g") },
        CreateLogGroupInput { log_group_class: Some("INFREQUENT_ACCESS".into()), ..group_named("g") },
        CreateLogGroupInput { deletion_protection_enabled: Some(true), ..group_named("g") },
    ] {
        assert_eq!(
            fixture.logs.create_log_group(&fixture.call, input).await.unwrap_err().code,
            "NotImplemented"
        );
    }
    for name in ["", "a b", "a\u{1f}b", "a*"] {
        let error = fixture.logs.create_log_group(&fixture.call, group_named(name)).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameterException", "{name:?}");
    }
    fixture.create_group("g").await;
    for name in ["", "a:b", "a*", "a\u{1f}b"] {
        let input =
            CreateLogStreamInput { log_group_name: Some("g".into()), log_stream_name: Some(name.into()) };
        let error = fixture.logs.create_log_stream(&fixture.call, input).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameterException", "{name:?}");
    }
    fixture.create_stream("g", "s").await;
    let input = CreateLogStreamInput { log_group_name: Some("g".into()), log_stream_name: Some("s".into()) };
    let error = fixture.logs.create_log_stream(&fixture.call, input).await.unwrap_err();
    assert_eq!(error.message, "The specified log stream already exists");
}

/// Every operation, called with what exists, by a caller who may do all but that.
async fn call_all(fixture: &Fixture, call: &towpath_api::Call) -> Vec<(&'static str, ApiError)> {
    let (g, s) = (Some("g".to_owned()), Some("s".to_owned()));
    let arn = Some("arn:aws:logs:us-east-1:000000000000:log-group:g".to_owned());
    let logs = &fixture.logs;
    let mut errors = Vec::new();
    macro_rules! try_call {
        ($action:literal, $method:ident, $input:expr) => {
            if let Err(error) = logs.$method(call, $input).await {
                errors.push(($action, error));
            }
        };
    }
    let stream_input =
        || CreateLogStreamInput { log_group_name: g.clone(), log_stream_name: Some("n".into()) };
    try_call!("CreateLogGroup", create_log_group, group_named("n"));
    try_call!("CreateLogStream", create_log_stream, stream_input());
    try_call!("PutLogEvents", put_log_events, put_input("s", &[(NOW, "x")]));
    let get =
        GetLogEventsInput { log_group_name: g.clone(), log_stream_name: s.clone(), ..Default::default() };
    try_call!("GetLogEvents", get_log_events, get);
    let filter = FilterLogEventsInput { log_group_name: g.clone(), ..Default::default() };
    try_call!("FilterLogEvents", filter_log_events, filter);
    try_call!("DescribeLogGroups", describe_log_groups, DescribeLogGroupsInput::default());
    let streams = DescribeLogStreamsInput { log_group_name: g.clone(), ..Default::default() };
    try_call!("DescribeLogStreams", describe_log_streams, streams);
    let retention = PutRetentionPolicyInput { log_group_name: g.clone(), retention_in_days: Some(1) };
    try_call!("PutRetentionPolicy", put_retention_policy, retention);
    try_call!(
        "DeleteRetentionPolicy",
        delete_retention_policy,
        DeleteRetentionPolicyInput { log_group_name: g.clone() }
    );
    let tags = Some(BTreeMap::from([("k".to_owned(), "v".to_owned())]));
    try_call!("TagResource", tag_resource, TagResourceInput { resource_arn: arn.clone(), tags });
    let untag = UntagResourceInput { resource_arn: arn.clone(), tag_keys: Some(vec![]) };
    try_call!("UntagResource", untag_resource, untag);
    try_call!("ListTagsForResource", list_tags_for_resource, ListTagsForResourceInput { resource_arn: arn });
    try_call!(
        "DeleteLogStream",
        delete_log_stream,
        DeleteLogStreamInput { log_group_name: g.clone(), log_stream_name: s }
    );
    try_call!("DeleteLogGroup", delete_log_group, DeleteLogGroupInput { log_group_name: g });
    errors
}

#[tokio::test]
async fn every_operation_is_denied_without_its_permission() {
    let fixture = Fixture::with_stream().await;
    let denied = call_all(&fixture, &call_with(|_, _| false)).await;
    assert_eq!(denied.len(), 14);
    for (operation, error) in denied {
        assert_eq!(error.code, "AccessDeniedException", "{operation}");
        assert!(error.message.contains(&format!("logs:{operation}")), "{error}");
    }
    assert!(fixture.get(|_| {}).await.0.is_empty(), "nothing was written");
    assert!(call_all(&fixture, &fixture.call).await.is_empty(), "and with it, all of them work");
}

#[tokio::test]
async fn the_documented_resources_are_what_policies_match() {
    let fixture = Fixture::with_stream().await;
    // A build's role: its own group, everything beneath it.
    let build =
        call_with(|_, resource| resource.starts_with("arn:aws:logs:us-east-1:000000000000:log-group:g:"));
    fixture.logs.put_log_events(&build, put_input("s", &[(NOW, "x")])).await.unwrap();
    let error = fixture.logs.create_log_group(&build, group_named("g2")).await.unwrap_err();
    assert!(
        error.message.contains("on resource: arn:aws:logs:us-east-1:000000000000:log-group:g2:log-stream:"),
        "{error}"
    );
    let other_stream = call_with(|_, resource| resource.ends_with(":log-stream:other"));
    let error = fixture.logs.put_log_events(&other_stream, put_input("s", &[(NOW, "x")])).await.unwrap_err();
    assert!(error.message.contains("log-group:g:log-stream:s"), "{error}");
    let unmask = GetLogEventsInput {
        log_group_name: Some("g".into()),
        log_stream_name: Some("s".into()),
        unmask: Some(true),
        ..Default::default()
    };
    let reader = call_with(|action, _| action == "logs:GetLogEvents");
    assert!(fixture.logs.get_log_events(&reader, unmask).await.unwrap_err().message.contains("logs:Unmask"));
}
