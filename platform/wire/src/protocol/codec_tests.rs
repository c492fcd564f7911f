//! awsJson and awsQuery, by a small model.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::test_model::{NOT_FOUND, SERVICE, THING, echo};
use towpath_api::{Fault, Timestamp};

fn json(text: &str) -> Result<Node, String> {
    json::decode(&SERVICE, THING, text.as_bytes()).map_err(|error| {
        assert_eq!(error.code, "SerializationException");
        error.message
    })
}

fn form(text: &str) -> Result<Node, String> {
    query::parse_form(None, text.as_bytes()).and_then(|form| query::decode(&SERVICE, echo(), form)).map_err(
        |error| {
            assert_eq!(error.code, "MalformedInput");
            error.message
        },
    )
}

fn str(text: &str) -> Node {
    Node::Str(text.into())
}

fn map(entries: Vec<(&str, Node)>) -> Node {
    Node::Map(entries.into_iter().map(|(key, value)| (key.to_owned().into(), value)).collect())
}

/// A thing with every kind of member.
pub(super) fn whole() -> Node {
    let tag = |key: &str| map(vec![("Key", str(key)), ("Value", str("<&>"))]);
    map(vec![
        ("Name", str("n")),
        ("Count", Node::Int(3)),
        ("Size", Node::Int(-5_000_000_000)),
        ("Ratio", Node::Float(1.5)),
        ("Enabled", Node::Bool(true)),
        ("Content", Node::Blob(vec![0, 255].into())),
        ("At", Node::Time(Timestamp::from_millis(1_700_000_000_123))),
        ("IsoAt", Node::Time(Timestamp::from_millis(1_700_000_000_000))),
        ("Tags", Node::List(vec![tag("a"), tag("b")])),
        ("Names", Node::List(vec![str("x"), str("y")])),
        ("Labels", map(vec![("k", str("v"))])),
        ("TagsByName", map(vec![("t", tag("c"))])),
        ("FlatNames", Node::List(vec![str("f"), str("g")])),
    ])
}

#[test]
fn json_travels_both_ways() {
    let bytes = json::encode(&SERVICE, THING, &whole()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains(r#""At":1700000000.123,"IsoAt":"2023-11-14T22:13:20Z""#), "{text}");
    assert!(text.contains(r#""Content":"AP8=""#) && text.contains(r#""Flat":["f","g"]"#), "{text}");
    assert_eq!(json(&text).unwrap(), whole());
}

#[test]
fn json_ignores_what_the_model_lacks_and_nulls() {
    let node = json(r#"{"Nope":[{"x":1}],"Name":null,"Count":2.0,"name":"lower","Count":3}"#).unwrap();
    assert_eq!(node, map(vec![("Count", Node::Int(3))]));
    for no_structure in ["", " ", "null"] {
        assert!(json(no_structure).is_err(), "{no_structure:?}");
    }
}

#[test]
fn json_type_errors_are_in_aws_words() {
    for (text, message) in [
        (r#"{"Name":1}"#, "NUMBER_VALUE can not be converted to a String"),
        (r#"{"Count":"1"}"#, "STRING_VALUE can not be converted to an Integer"),
        (r#"{"Count":1.5}"#, "NUMBER_VALUE can not be converted to an Integer"),
        (r#"{"Count":3000000000}"#, "NUMBER_VALUE can not be converted to an Integer"),
        (r#"{"Size":1e300}"#, "NUMBER_VALUE can not be converted to a Long"),
        (r#"{"Enabled":"true"}"#, "STRING_VALUE can not be converted to a Boolean"),
        (r#"{"Tags":{}}"#, "Start of structure or map found where not expected."),
        (r#"{"Tags":[{"Key":[]}]}"#, "Start of list found where not expected"),
        (r#"{"Labels":{"k":true}}"#, "TRUE_VALUE can not be converted to a String"),
        (r#"{"Content":"%"}"#, "STRING_VALUE can not be converted to a Blob"),
        (r#"{"At":1e18}"#, "NUMBER_VALUE can not be converted to milliseconds since epoch"),
        (r#"{"Names":"x"}"#, "Expected list or null"),
        (r#"{"Labels":1}"#, "Expected map or null"),
        (r#"{"Tags":["x"]}"#, "Expected null"),
        (r#"[]"#, "Start of list found where not expected"),
    ] {
        assert_eq!(json(text).unwrap_err(), message, "{text}");
    }
    for text in ["{", "{}x", "{\"Name\":\"\u{1}\"}", "\u{feff}{}"] {
        assert!(json(text).unwrap_err().starts_with("The request body is not valid JSON"), "{text}");
    }
}

#[test]
fn json_depth_and_count_are_bounded() {
    let deep = |depth: usize| format!("{}{}", r#"{"Children":["#.repeat(depth), "]}".repeat(depth));
    let tree = |depth: usize| json(&format!(r#"{{"Tree":{}}}"#, deep(depth)));
    assert!(tree(20).is_ok());
    assert!(tree(40).unwrap_err().contains("deeper"));
    assert!(tree(1000).is_err());
    let many = format!(r#"{{"Names":[{}"x"]}}"#, r#""x","#.repeat(limits::MAX_VALUES));
    assert!(json(&many).unwrap_err().contains("values"));
}

#[test]
fn floats_that_are_no_numbers_are_strings_in_json() {
    assert_eq!(json(r#"{"Ratio":"-Infinity"}"#).unwrap().get("Ratio"), Some(&Node::Float(f64::NEG_INFINITY)));
    let bytes = json::encode(&SERVICE, THING, &map(vec![("Ratio", Node::Float(f64::NAN))])).unwrap();
    assert_eq!(bytes, br#"{"Ratio":"NaN"}"#);
}

#[test]
fn doubles_travel_through_json_to_the_last_bit() {
    // A parser that only multiplies by powers of ten reads some of them one bit off.
    let mut values = vec![5e-324, 1.7976931348623157e308, 0.1];
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values.push(f64::from_bits(bits));
    }
    for value in values.into_iter().filter(|value| value.is_finite()) {
        let bytes = json::encode(&SERVICE, THING, &map(vec![("Ratio", Node::Float(value))])).unwrap();
        let back = json::decode(&SERVICE, THING, &bytes).unwrap();
        assert_eq!(back.get("Ratio"), Some(&Node::Float(value)), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn an_output_beside_its_model_is_our_defect() {
    assert!(json::encode(&SERVICE, THING, &map(vec![("Nope", str("x"))])).is_err());
    assert!(json::encode(&SERVICE, THING, &map(vec![("Name", Node::Int(1))])).is_err());
}

#[test]
fn forms_with_lists_maps_and_structures() {
    let text = "Action=Echo&Version=1&Name=n&Count=3&Size=-5000000000&Ratio=1.5&Enabled=true&Content=AP8%3D\
        &At=2023-11-14T22%3A13%3A20.123Z&IsoAt=2023-11-14T22:13:20Z\
        &Tags.member.1.Key=a&Tags.member.1.Value=%3C%26%3E&Tags.member.2.Key=b&Tags.member.2.Value=%3C%26%3E\
        &Names.member.1=x&Names.member.2=y&Labels.entry.1.key=k&Labels.entry.1.value=v\
        &TagsByName.entry.1.key=t&TagsByName.entry.1.value.Key=c&TagsByName.entry.1.value.Value=%3C%26%3E\
        &Flat.1=f&Flat.2=g&Unknown=1";
    assert_eq!(form(text).unwrap(), whole());
}

#[test]
fn forms_of_another_shape_are_refused() {
    for (text, message) in [
        ("Names=x", "Unexpected list element termination"),
        ("Names.member=x", "Unexpected list element termination"),
        ("Names.member.0=x", "0 is not a valid index"),
        ("Names.member.x=x", "Start of list found where not expected"),
        ("Names.1=x", "Start of list found where not expected"),
        ("Labels.1.key=x", "Start of list found where not expected"),
        ("Tags.member.1=x", "A structure was expected at 'Tags[0]', a value was found"),
        ("Name.x=1", "A Name was expected at 'Name', a structure was found"),
        ("Name=1&Name.x=1", "A Name was expected at 'Name', a structure was found"),
    ] {
        assert_eq!(form(text).unwrap_err(), message, "{text}");
    }
}

#[test]
fn forms_list_items_in_order_of_their_numbers() {
    let node = form("Names.member.10=c&Names.member.2=b&Names.member.1=a+b").unwrap();
    assert_eq!(node.get("Names"), Some(&Node::List(vec![str("a b"), str("b"), str("c")])));
    assert_eq!(form("Names=").unwrap().get("Names"), Some(&Node::List(vec![])));
}

#[test]
fn form_errors_name_the_path() {
    assert_eq!(form("Count=x").unwrap_err(), "'x' is not a valid integer at 'Count'");
    assert_eq!(form("Name.x=1").unwrap_err(), "A Name was expected at 'Name', a structure was found");
    assert_eq!(form("Labels.entry.1.value=v").unwrap_err(), "The map 'Labels' has an entry without a key");
    assert_eq!(form("Name=a&Name=b").unwrap_err(), "The parameter Name was given more than once");
    assert!(form(&format!("Tree{}=1", ".Children.member.1".repeat(100))).is_err());
    assert!(form(&"a=&".repeat(3)).unwrap_err().contains("more than once"));
    assert!(form("Name=%ff").is_err());
}

#[test]
fn query_answers_are_wrapped() {
    let encoded = query::encode(&SERVICE, echo(), &whole(), "id-1").unwrap();
    assert_eq!(encoded.headers["content-type"], "text/xml");
    let text = std::str::from_utf8(&encoded.body).unwrap();
    assert!(
        text.starts_with("<EchoResponse xmlns=\"https://things.example/doc/\"><EchoResult><Name>n</Name>"),
        "{text}"
    );
    for piece in [
        "<At>2023-11-14T22:13:20.123Z</At>",
        "<Tags><member><Key>a</Key><Value>&lt;&amp;&gt;</Value></member><member>",
        "<Labels><entry><key>k</key><value>v</value></entry></Labels>",
        "<Flat>f</Flat><Flat>g</Flat>",
        "</EchoResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></EchoResponse>",
    ] {
        assert!(text.contains(piece), "{piece} is not in {text}");
    }
    let empty = query::encode(&SERVICE, echo(), &map(vec![("Tags", Node::List(vec![]))]), "id").unwrap();
    assert!(std::str::from_utf8(&empty.body).unwrap().contains("<Tags></Tags>"));
}

/// What XML cannot hold does not break it.
#[test]
fn xml_reads_back_what_was_written() {
    let element =
        xml::parse(b"<a xmlns='x' k='&quot;1'><!-- c --><b>t&lt;&#33;<![CDATA[<&]]></b><p:c/></a>").unwrap();
    assert_eq!(element.child("b").unwrap().text, "t<!<&");
    assert!(element.child("c").is_some());
    assert_eq!(element.attributes[1], ("k".to_owned(), "\"1".to_owned()));
    let mut text = String::new();
    xml::escape(&mut text, "a\0b\r\n");
    assert_eq!(text, "a\u{fffd}b&#13;\n");
    for bad in [
        "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
        "<a>&nope;</a>",
        "<a><b></a>",
        "<a/><b/>",
        "x",
        "",
        "<a>",
    ] {
        assert!(xml::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = format!("{}{}", "<a>".repeat(500), "</a>".repeat(500));
    assert!(xml::parse(deep.as_bytes()).is_err());
}

fn error_in(protocol: Protocol, error: &ApiError) -> (u16, HeaderMap, String) {
    let context = Context { protocol, service: Some(&SERVICE), operation: Some(echo()), request_id: "id-1" };
    let encoded = encode_error(&context, error);
    (encoded.status, encoded.headers, String::from_utf8_lossy(&encoded.body).into_owned())
}

fn not_found() -> ApiError {
    ApiError::modelled("NotFoundException", "NotFound", 404, Fault::Client, "no \"x\" & y")
        .with_member("Missing", str("x"))
        .with_member("Nope", str("x"))
}

#[test]
fn modelled_errors_per_protocol() {
    assert_eq!(SERVICE.shape(NOT_FOUND).name, "NotFoundException");
    let (status, headers, body) = error_in(Protocol::AwsJson11, &not_found());
    assert_eq!(status, 404);
    assert_eq!(body, r#"{"__type":"NotFoundException","Message":"no \"x\" & y","Missing":"x"}"#);
    assert_eq!(headers["x-amzn-query-error"], "NotFound;Sender");

    let (_, headers, _) = error_in(Protocol::RestJson1, &not_found());
    assert_eq!(headers["x-amzn-errortype"], "NotFoundException");

    let (status, _, body) = error_in(Protocol::AwsQuery, &not_found());
    assert_eq!(status, 404);
    assert_eq!(
        body,
        "<ErrorResponse xmlns=\"https://things.example/doc/\"><Error><Type>Sender</Type><Code>NotFound</Code>\
         <Message>no &quot;x&quot; &amp; y</Message><Missing>x</Missing></Error><RequestId>id-1</RequestId>\
         </ErrorResponse>"
    );
}

#[test]
fn common_errors_have_each_protocols_name() {
    let denied = ApiError::access_denied("no");
    let (status, _, body) = error_in(Protocol::AwsJson11, &denied);
    assert_eq!((status, body.as_str()), (400, r#"{"__type":"AccessDeniedException","message":"no"}"#));
    let (status, _, body) = error_in(Protocol::AwsQuery, &denied);
    assert_eq!(status, 403);
    assert!(body.contains("<Code>AccessDenied</Code>"), "{body}");
    let (_, _, body) = error_in(Protocol::AwsQuery, &ApiError::validation("no"));
    assert!(body.contains("<Code>ValidationError</Code>"), "{body}");
    let (status, _, body) = error_in(Protocol::AwsQuery, &ApiError::internal("secret cause"));
    assert_eq!(status, 500);
    assert!(body.contains("<Type>Receiver</Type>") && !body.contains("secret"), "{body}");
}
