//! Labels, query, headers, status and body, by a small model.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::test_model::SERVICE;

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn found(method: &str, uri: &str) -> Option<(&'static str, Vec<(&'static str, String)>)> {
    find_operation(&SERVICE, &parts(method, uri, &[])).map(|(operation, labels)| (operation.name, labels))
}

#[test]
fn operations_are_found_by_method_and_template() {
    let label = |name, value: &str| (name, value.to_owned());
    assert_eq!(found("GET", "/b"), Some(("GetThings", vec![label("Bucket", "b")])));
    assert_eq!(found("GET", "/b?list&x=1"), Some(("GetThingsList", vec![label("Bucket", "b")])));
    assert_eq!(found("GET", "/static"), Some(("GetStatic", vec![])));
    assert_eq!(
        found("PUT", "/b%2Fc/k/l%20m"),
        Some(("PutThing", vec![label("Bucket", "b/c"), label("Key", "k/l m")]))
    );
    assert_eq!(found("GET", "/b/show/k"), Some(("ShowThing", vec![label("Bucket", "b"), label("Key", "k")])));
    assert_eq!(found("PUT", "/b"), None);
    assert_eq!(found("DELETE", "/b"), None);
    assert_eq!(found("GET", "/"), None);
}

fn read(protocol: Protocol, body: &str) -> Result<Node, ApiError> {
    let parts = parts(
        "PUT",
        "/b/k?limit=5&name=x&name=y%20z",
        &[
            ("x-flag", "true"),
            ("x-names", "a, b"),
            ("x-at", "Tue, 14 Nov 2023 22:13:20 GMT"),
            ("x-meta-one", "1"),
        ],
    );
    let (operation, labels) = find_operation(&SERVICE, &parts).unwrap();
    decode(protocol, &SERVICE, operation, &parts, &labels, body.as_bytes())
}

#[test]
fn members_come_from_everywhere() {
    let bodies = [
        (Protocol::RestJson1, r#"{"Tags":[{"Key":"a"}],"Note":"n","Bucket":"evil"}"#),
        (
            Protocol::RestXml,
            "<PutInput><Tags><member><Key>a</Key></member></Tags><Note>n</Note><Bucket>evil</Bucket></PutInput>",
        ),
    ];
    for (protocol, body) in bodies {
        let node = read(protocol, body).unwrap();
        let text = |name: &str| node.get(name).and_then(Node::as_str).unwrap().to_owned();
        assert_eq!((text("Bucket"), text("Key"), text("Note")), ("b".into(), "k".into(), "n".into()));
        let strings =
            |texts: &[&str]| Node::List(texts.iter().map(|text| Node::Str((*text).into())).collect());
        assert_eq!(node.get("Flag"), Some(&Node::Bool(true)));
        assert_eq!(node.get("Names"), Some(&strings(&["a", "b"])));
        assert_eq!(node.get("QueryNames"), Some(&strings(&["x", "y z"])));
        assert_eq!(node.get("Limit"), Some(&Node::Int(5)));
        assert_eq!(node.get("At"), Some(&Node::Time(towpath_api::Timestamp::from_millis(1_700_000_000_000))));
        assert_eq!(node.get("Meta"), Some(&Node::Map(vec![("one".into(), Node::Str("1".into()))])));
        assert!(matches!(node.get("Tags"), Some(Node::List(tags)) if tags.len() == 1));
    }
}

#[test]
fn errors_name_the_member() {
    let parts = parts("PUT", "/b/k?limit=five", &[]);
    let (operation, labels) = find_operation(&SERVICE, &parts).unwrap();
    let error = decode(Protocol::RestJson1, &SERVICE, operation, &parts, &labels, b"").unwrap_err();
    assert_eq!(error.message, "'five' is not a valid integer at 'Limit'");
    let error = read(Protocol::RestXml, "<a><Tags>x</Tags><Note><b/></Note></a>").unwrap_err();
    assert_eq!(
        (error.code.as_ref(), error.message.as_str()),
        ("MalformedXML", "A String was expected at 'Note', an element was found")
    );
}

#[test]
fn outputs_go_everywhere() {
    let operation = SERVICE.operation("ShowThing").unwrap();
    let output = Node::Map(vec![
        ("Status".into(), Node::Int(206)),
        ("Etag".into(), Node::Str("\"e\"".into())),
        ("Meta".into(), Node::Map(vec![("one".into(), Node::Str("1".into()))])),
        ("Content".into(), Node::Blob(vec![1, 2].into())),
    ]);
    let encoded = encode(Protocol::RestXml, &SERVICE, operation, &output).unwrap();
    assert_eq!(encoded.status, 206);
    assert_eq!(encoded.headers["x-etag"], "\"e\"");
    assert_eq!(encoded.headers["x-meta-one"], "1");
    assert_eq!(encoded.body[..], [1, 2]);

    let broken = Node::Map(vec![("Etag".into(), Node::Str("a\r\nx: y".into()))]);
    assert!(encode(Protocol::RestXml, &SERVICE, operation, &broken).is_err(), "a header cannot be split");

    let operation = SERVICE.operation("PutThing").unwrap();
    let output = Node::Map(vec![("Name".into(), Node::Str("n".into()))]);
    let encoded = encode(Protocol::RestXml, &SERVICE, operation, &output).unwrap();
    assert_eq!(encoded.body, "<Thing xmlns=\"https://things.example/doc/\"><Name>n</Name></Thing>");
    let encoded = encode(Protocol::RestJson1, &SERVICE, operation, &output).unwrap();
    assert_eq!(encoded.body, r#"{"Name":"n"}"#);
}
