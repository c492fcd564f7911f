//! Our own client against our own server.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use support::*;
use towpath_api::{ApiError, Clock, Fault, Node, SystemClock, Timestamp};
use towpath_api_codecommit::MODEL;
use towpath_wire::client::{json_answer, json_request};
use towpath_wire::sigv4::SigningKeys;

fn call(running: &Running, operation: &str, input: Node) -> Result<Node, ApiError> {
    let keys = SigningKeys {
        access_key_id: "ASIAALICE",
        secret_access_key: SECRET,
        session_token: Some(TOKEN),
        region: "us-east-1",
        service: MODEL.signing_name,
    };
    let endpoint = format!("http://{}/", running.address).parse().unwrap();
    let request = json_request(&MODEL, operation, &input, &endpoint, &keys, SystemClock.now()).unwrap();
    let mut head =
        format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", running.address, request.body.len());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream.write_all(&[head.as_bytes(), b"\r\n", &request.body].concat()).unwrap();
    let answer = Answer::read(&mut BufReader::new(stream), false);
    json_answer(&MODEL, request.operation, answer.status, &answer.body)
}

#[test]
fn outputs_and_errors_come_back_as_they_were() {
    let content: Vec<u8> = (0..=255).collect();
    let blob = content.clone();
    let running = start(|builder| {
        builder.service(Fake::new(&MODEL, move |_, operation, input| match operation {
            "GetBlob" => Ok(map(vec![("content", Node::Blob(blob.clone().into()))])),
            "GetRepository" => Ok(map(vec![(
                "repositoryMetadata",
                map(vec![
                    ("repositoryName", input.get("repositoryName").cloned().unwrap_or_default()),
                    ("creationDate", Node::Time(Timestamp::from_millis(1_700_000_000_123))),
                ]),
            )])),
            _ => Err(towpath_api_codecommit::errors::repository_does_not_exist_exception("gone")),
        }))
    });
    let blob =
        call(&running, "GetBlob", map(vec![("repositoryName", str("r")), ("blobId", str("b"))])).unwrap();
    assert_eq!(blob.get("content"), Some(&Node::Blob(content.into())));
    let found = call(&running, "GetRepository", map(vec![("repositoryName", str("r"))])).unwrap();
    let metadata = found.get("repositoryMetadata").unwrap();
    assert_eq!(metadata.get("creationDate"), Some(&Node::Time(Timestamp::from_millis(1_700_000_000_123))));

    let gone = call(&running, "ListBranches", map(vec![("repositoryName", str("r"))])).unwrap_err();
    assert_eq!((gone.code.as_ref(), gone.message.as_str()), ("RepositoryDoesNotExistException", "gone"));
    assert_eq!((gone.status, gone.fault), (400, Fault::Client));
    let invalid = call(&running, "GetRepository", map(vec![("repositoryName", str("a b"))])).unwrap_err();
    assert_eq!(invalid.code, "ValidationException");
}

#[test]
fn an_answer_that_is_no_json_is_still_an_error() {
    let operation = MODEL.operation("GetBlob").unwrap();
    let error = json_answer(&MODEL, operation, 502, b"<html>bad gateway</html>").unwrap_err();
    assert_eq!((error.code.as_ref(), error.fault), ("HTTP502", Fault::Server));
    assert!(error.message.contains("bad gateway"));
}
