//! FilterLogEvents: patterns, streams, pages, directions.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use towpath_api::ApiError;
use towpath_api_logs::*;
use towpath_logs::pattern::Pattern;

async fn filter(
    fixture: &Fixture,
    edit: impl FnOnce(&mut FilterLogEventsInput),
) -> Result<(Vec<String>, Option<String>), ApiError> {
    let mut input = FilterLogEventsInput { log_group_name: Some("g".into()), ..Default::default() };
    edit(&mut input);
    let output = fixture.logs.filter_log_events(&fixture.call, input).await?;
    let text =
        |event: FilteredLogEvent| format!("{}:{}", event.log_stream_name.unwrap(), event.message.unwrap());
    Ok((output.events.unwrap().into_iter().map(text).collect(), output.next_token))
}

#[tokio::test]
async fn the_events_of_all_streams_come_in_the_order_of_time_page_by_page() {
    let fixture = Fixture::with_stream().await;
    let mut expected = Vec::new();
    for stream in ["a", "b", "c"] {
        fixture.create_stream("g", stream).await;
        for number in 0..10 {
            let (one, two) = (format!("{number}"), format!("{number}'"));
            let time = NOW + number * 10 + i64::from(stream != "b");
            fixture.put(stream, &[(time, &one), (time, &two)]).await;
            expected.push((time, format!("{stream}:{one}")));
            expected.push((time, format!("{stream}:{two}")));
        }
    }
    expected.sort_by(|a, b| a.0.cmp(&b.0).then(a.1[..1].cmp(&b.1[..1])));
    let mut expected: Vec<String> = expected.into_iter().map(|(_, text)| text).collect();
    for (limit, head) in [(7, true), (1, true), (10_000, true), (7, false), (60, false)] {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let (page, next) = filter(&fixture, |input| {
                (input.limit, input.next_token, input.start_from_head) =
                    (Some(limit), token.clone(), Some(head));
            })
            .await
            .unwrap();
            all.extend(page);
            token = next;
            if token.is_none() {
                break;
            }
        }
        if !head {
            all.reverse();
        }
        assert_eq!(all, expected, "limit {limit}, from head {head}");
    }
    expected.retain(|text| text.starts_with("b:") || text.starts_with("c:"));
    let names = Some(vec!["c".to_owned(), "b".to_owned(), "c".to_owned()]);
    let (some, _) = filter(&fixture, |input| input.log_stream_names = names.clone()).await.unwrap();
    assert_eq!(some, expected);
    let (range, _) = filter(&fixture, |input| {
        (input.start_time, input.end_time) = (Some(NOW + 10), Some(NOW + 11));
        input.log_stream_name_prefix = Some("b".into());
    })
    .await
    .unwrap();
    assert_eq!(range, ["b:1", "b:1'"]);
    let (end, _) = filter(&fixture, |input| input.end_time = Some(NOW)).await.unwrap();
    assert_eq!(end, ["b:0", "b:0'"], "the end belongs to the range");
}

#[tokio::test]
async fn a_pattern_selects_and_a_wrong_request_is_refused() {
    let fixture = Fixture::with_stream().await;
    fixture.put("s", &[(NOW, "[ERROR] one"), (NOW, "all well"), (NOW, "ERROR two")]).await;
    let (found, next) = filter(&fixture, |input| input.filter_pattern = Some("ERROR".into())).await.unwrap();
    assert_eq!((found, next), (vec!["s:[ERROR] one".into(), "s:ERROR two".into()], None));
    let code =
        |result: Result<(Vec<String>, Option<String>), ApiError>| result.unwrap_err().code.into_owned();
    let result = filter(&fixture, |input| input.filter_pattern = Some("[ip, user]".into())).await;
    assert!(result.as_ref().unwrap_err().message.contains("space-delimited"));
    assert_eq!(code(result), "NotImplemented");
    assert_eq!(
        code(filter(&fixture, |input| input.filter_pattern = Some("\"x".into())).await),
        "InvalidParameterException"
    );
    assert_eq!(
        code(filter(&fixture, |input| input.next_token = Some("zz".into())).await),
        "InvalidParameterException"
    );
    let missing = filter(&fixture, |input| input.log_stream_names = Some(vec!["none".into()])).await;
    assert_eq!(code(missing), "ResourceNotFoundException");
    let both = filter(&fixture, |input| {
        input.log_stream_names = Some(vec!["s".into()]);
        input.log_stream_name_prefix = Some("s".into());
    });
    assert_eq!(code(both.await), "InvalidParameterException");
    let twice = filter(&fixture, |input| input.log_group_identifier = Some("g".into()));
    assert_eq!(code(twice.await), "InvalidParameterException");
}

fn matches(pattern: &str, message: &str) -> bool {
    Pattern::parse(pattern).unwrap().matches(message)
}

#[test]
fn terms_match_as_documented() {
    let messages = ["ERROR WARN message", "ERROR message", "WARN message"];
    for (pattern, expected) in [
        ("ERROR", [true, true, false]),
        ("?ERROR ?WARN", [true, true, true]),
        ("ERROR WARN", [true, false, false]),
        ("ERROR -WARN", [false, true, false]),
        ("-WARN", [false, true, false]),
        ("\"ERROR message\"", [false, true, false]),
        ("ERROR - \"WARN message\"", [false, true, false]),
        ("error", [false, false, false]),
        ("message ?nothing", [true, true, true]),
        ("%^WARN|ERROR W%", [true, false, true]),
        ("\"\"", [true, true, true]),
    ] {
        assert_eq!(messages.map(|message| matches(pattern, message)), expected, "{pattern}");
    }
    assert!(matches(r#""say \"hi\"""#, r#"they say "hi""#));
    assert!(matches(r"%\d{1,3}\.\d{1,3}%", "from 10.0.0.1"));
}

#[test]
fn json_conditions_match_as_documented() {
    let event = r#"{
        "eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"], "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": null, "ThisFlag": true, "latency": 500.5, "user": {"id": 1, "email": "John.Stiles@example.com"},
        "users": [{"id": 2, "email": "John.Doe@example.com"}], "actions": ["GET", "PUT", "DELETE"],
        "coordinates": [[0, 1, 2]], "text-number": "400"
    }"#;
    for (pattern, expected) in [
        (r#"{ $.eventType = "UpdateTrail" }"#, true),
        (r#"{ $.eventType = UpdateTrail }"#, true),
        (r#"{$.eventType="*Trail"}"#, true),
        (r#"{ $.eventType = Up* }"#, true),
        (r#"{ $.eventType = *dat* }"#, true),
        (r#"{ $.eventType = Up*Trail }"#, false),
        (r#"{ $.eventType = %^Update[A-Z]% }"#, true),
        ("{ $.sourceIPAddress != 123.123.* }", true),
        ("{ $.sourceIPAddress != 111.111.* }", false),
        (r#"{ $.arrayKey[0] = "value" }"#, true),
        ("{ $.objectList[1].id = 2 }", true),
        ("{ $.objectList[1].id = 2.0 }", true),
        ("{ $.SomeObject IS NULL }", true),
        ("{ $.eventType IS NULL }", false),
        ("{ $.SomeOtherObject NOT EXISTS }", true),
        ("{ $.SomeObject not exists }", false),
        ("{ $.ThisFlag IS TRUE }", true),
        ("{ $.ThisFlag IS FALSE }", false),
        ("{ $.latency >= 500 && $.latency < +5.1e2 }", true),
        ("{ $.latency > 500.5 }", false),
        ("{ $.eventType > 3 }", false),
        ("{ $.text-number = 400 }", true),
        ("{ $.missing != 1 }", false),
        ("{ $.users = 1 }", false),
        ("{ $.users != 1 }", false),
        (r#"{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }"#, true),
        (r#"{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }"#, false),
        (
            r#"{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nomatch }"#,
            true,
        ),
        (
            r#"{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nomatch }"#,
            false,
        ),
    ] {
        assert_eq!(matches(pattern, event), expected, "{pattern}");
    }
    assert!(!matches("{ $.a NOT EXISTS }", "no JSON at all"));
}

#[test]
fn what_is_no_pattern_is_refused_with_its_reason() {
    let deep = format!("{{ {}$.a = 1{} }}", "(".repeat(60), ")".repeat(60));
    let long = "a".repeat(1025);
    for (pattern, reason) in [
        ("foo-bar", "Invalid character(s) in term 'foo-bar'"),
        ("\"open", "no closing quote"),
        ("- ", "a term is missing"),
        ("%abc", "no closing %"),
        ("%(a)%", "the character '('"),
        ("%a{9999}{9999}%", "%a{9999}"),
        ("{ $.a = 1", "must end with }"),
        ("{ }", "it ends too early"),
        ("{ a = 1 }", "unexpected \"a = 1 \""),
        ("{ $.a }", "unknown comparison"),
        ("{ $.a IS MAYBE }", "unknown comparison \"IS MAYBE\""),
        ("{ $.a > many }", "\"many\" is not a number"),
        ("{ ($.a = 1 }", "ends too early"),
        ("{ $.a = 1 $.b = 2 }", "unexpected"),
        ("{ $ = 1 }", "unexpected"),
        ("{ $.a[*] = 1 }", "[*]"),
        ("[w1, w2]", "space-delimited"),
        (&deep, "deeper than"),
        (&long, "more than 1024"),
    ] {
        let error = Pattern::parse(pattern).unwrap_err().to_string();
        assert!(error.contains(reason), "{pattern}: {error}");
    }
}
