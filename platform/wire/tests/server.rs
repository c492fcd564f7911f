//! Requests over real sockets, from authentication to the answer.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use support::*;
use towpath_api::{ApiError, Node};

/// GetPipeline gives its name back; `panic`, `broken` and `missing` do what they say.
fn pipelines() -> Arc<Fake> {
    Fake::new(&towpath_api_codepipeline::MODEL, |call, operation, input| {
        assert_eq!(call.caller.arn(), "arn:aws:iam::000000000000:user/alice");
        assert_eq!(call.region, "us-east-1");
        match (operation, input.get("name").and_then(Node::as_str)) {
            ("GetPipeline", Some("panic")) => panic!("at the handler's"),
            ("GetPipeline", Some("broken")) => Err(ApiError::internal("the disk is full")),
            ("GetPipeline", Some("missing")) => {
                Err(towpath_api_codepipeline::errors::pipeline_not_found_exception("no such pipeline"))
            }
            ("GetPipeline", Some(name)) => Ok(map(vec![("pipeline", map(vec![("name", str(name))]))])),
            ("DeletePipeline", _) => Ok(map(vec![])),
            (other, _) => Err(ApiError::not_implemented(other)),
        }
    })
}

fn users() -> Arc<Fake> {
    Fake::new(&towpath_api_iam::MODEL, |_, operation, input| match operation {
        "GetUser" => Ok(map(vec![(
            "User",
            map(vec![("UserName", input.get("UserName").cloned().unwrap_or_default())]),
        )])),
        "DeleteUser" => Ok(map(vec![])),
        "CreateUser" => Err(towpath_api_iam::errors::entity_already_exists_exception("exists")),
        other => Err(ApiError::not_implemented(other)),
    })
}

const GET: &str = "CodePipeline_20150709.GetPipeline";

fn get(name: &str) -> Ask {
    Ask::json("codepipeline", GET, &format!(r#"{{"name":"{name}"}}"#))
}

#[test]
fn a_signed_call_is_answered() {
    let running = start(|builder| builder.service(pipelines()));
    let answer = get("p1").send(&running);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), r#"{"pipeline":{"name":"p1"}}"#);
    assert_eq!(answer.header("content-type"), "application/x-amz-json-1.1");
    assert_eq!(answer.header("x-amzn-requestid").len(), 36);
    assert!(answer.header("date").ends_with("GMT"));
    let empty =
        Ask::json("codepipeline", "CodePipeline_20150709.DeletePipeline", r#"{"name":"p"}"#).send(&running);
    assert_eq!((empty.status, empty.text()), (200, "{}"));
}

#[test]
fn nobody_unauthenticated_reaches_a_service() {
    let (pipelines, users) = (pipelines(), users());
    let running = start(|builder| builder.service(pipelines.clone()).service(users.clone()));
    let check = |ask: &Ask, status: u16, code: &str, message: &str| {
        let answer = ask.send(&running);
        let (found, text) = answer.error();
        assert_eq!((answer.status, found.as_str()), (status, code), "{text}");
        assert!(text.contains(message), "{text}");
    };
    let json = get("p1");
    let form = Ask::form("iam", "Action=GetUser&Version=2010-05-08&UserName=x");
    let key = |ask: &Ask, key| Ask { key: Some(key), ..ask.clone() };

    check(
        &json.clone().unsigned(),
        400,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    );
    check(
        &form.clone().unsigned(),
        403,
        "MissingAuthenticationToken",
        "Request is missing Authentication Token",
    );
    let wrong = (KEY, "wrong", None);
    check(&key(&json, wrong), 400, "InvalidSignatureException", "does not match the signature you provided");
    check(
        &key(&form, wrong),
        403,
        "SignatureDoesNotMatch",
        "The Canonical String for this request should have been",
    );
    let unknown = ("AKIDNOBODY", SECRET, None);
    check(
        &key(&json, unknown),
        400,
        "UnrecognizedClientException",
        "security token included in the request is invalid",
    );
    check(
        &key(&form, unknown),
        403,
        "InvalidClientTokenId",
        "security token included in the request is invalid",
    );
    let expired = ("ASIAALICE", SECRET, Some("old"));
    check(&key(&json, expired), 400, "ExpiredTokenException", "expired");
    check(&key(&form, expired), 400, "ExpiredToken", "expired");
    check(&key(&json, ("ASIAALICE", SECRET, None)), 400, "UnrecognizedClientException", "invalid");

    let early = Ask { at: json.at.plus_millis(-16 * 60_000), ..json.clone() };
    check(&early, 400, "InvalidSignatureException", "Signature expired: ");
    let late = Ask { at: json.at.plus_millis(16 * 60_000), ..form.clone() };
    check(&late, 403, "SignatureDoesNotMatch", "Signature not yet current: ");
    let region = Ask { region: "eu-west-1", ..json.clone() };
    check(&region, 400, "InvalidSignatureException", "valid region, not 'eu-west-1'");
    let service = Ask { service: "codebuild", ..json.clone() };
    check(&service, 400, "InvalidSignatureException", "correct service: 'codepipeline'");
    let unsigned = json.clone().header("authorization", "AWS4-HMAC-SHA256 Credential=x").unsigned();
    check(&unsigned, 400, "IncompleteSignatureException", "requires 'Signature' parameter");
    assert_eq!(pipelines.count() + users.count(), 0);

    let session = key(&json, ("ASIAALICE", SECRET, Some(TOKEN))).send(&running);
    assert_eq!(session.status, 200);
    // IAM is global: its clients sign for whatever region they think of.
    assert_eq!(Ask { region: "eu-west-1", ..form.clone() }.send(&running).status, 200);
}

#[test]
fn a_changed_body_is_not_decoded() {
    let pipelines = pipelines();
    let running = start(|builder| builder.service(pipelines.clone()));
    let change = |from: &str, to: &str| {
        let bytes = String::from_utf8(get("aaaa").bytes(running.address)).unwrap();
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream.write_all(bytes.replace(from, to).as_bytes()).unwrap();
        Answer::read(&mut BufReader::new(stream), false)
    };
    assert_eq!(change("aaaa", "aaaa").status, 200);
    let answer = change("aaaa", "bbbb");
    assert_eq!(answer.code(), "InvalidSignatureException");
    assert!(answer.error().1.contains("x-amz-content-sha256"));
    assert_eq!(change("GetPipeline", "DeletePipeline").code(), "InvalidSignatureException");
    let hash = towpath_wire::sigv4::sha256_hex(br#"{"name":"aaaa"}"#);
    let unsigned = change(&format!("x-amz-content-sha256: {hash}"), "x-amz-content-sha256: UNSIGNED-PAYLOAD");
    assert!(unsigned.error().1.contains("the body must be signed"), "{unsigned:?}");
    assert_eq!(pipelines.count(), 1);
}

#[test]
fn operations_that_we_do_not_have_are_refused_by_name() {
    let (pipelines, users) = (pipelines(), users());
    let running = start(|builder| builder.service(pipelines.clone()).service(users.clone()));
    let json = |service, target: &str| {
        let answer = Ask::json(service, target, "{}").send(&running);
        let (code, message) = answer.error();
        (answer.status, code, message)
    };
    let refused = json("codepipeline", "CodePipeline_20150709.PutWebhook");
    assert_eq!((refused.0, refused.1.as_str()), (501, "NotImplemented"));
    assert!(refused.2.contains("codepipeline:PutWebhook"), "{}", refused.2);
    let unknown = json("codepipeline", "CodePipeline_20150709.Nope");
    assert_eq!((unknown.0, unknown.1.as_str()), (400, "UnknownOperationException"));
    let service = json("ssm", "AmazonSSM.GetParameter");
    assert_eq!(service.0, 501);
    assert!(service.2.contains("AmazonSSM.GetParameter"), "{}", service.2);

    let form = |service, body: &str| Ask::form(service, body).send(&running);
    assert_eq!(form("iam", "Action=Nope&Version=2010-05-08").code(), "InvalidAction");
    assert_eq!(form("iam", "Version=2010-05-08").code(), "MissingAction");
    let sns = form("sns", "Action=Publish&Version=2010-03-31");
    assert_eq!(sns.status, 501);
    assert!(sns.error().1.contains("sns"), "{}", sns.text());
    let lambda = Ask { method: "GET", path: "/2015-03-31/functions/f%3A1".into(), ..Ask::new("lambda") }
        .send(&running);
    assert_eq!(lambda.status, 501);
    assert!(lambda.error().1.contains("lambda:GET /2015-03-31/functions/"), "{}", lambda.text());
    let anonymous = Ask::json("ssm", "AmazonSSM.GetParameter", "{}").unsigned().send(&running);
    assert_eq!(anonymous.code(), "MissingAuthenticationTokenException");
    assert_eq!(pipelines.count() + users.count(), 0);
}

#[test]
fn the_query_protocol() {
    let running = start(|builder| builder.service(users()));
    let user = Ask::form("iam", "Action=GetUser&Version=2010-05-08&UserName=a.b").send(&running);
    assert_eq!(user.status, 200);
    assert!(
        user.text().starts_with(
            "<GetUserResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetUserResult><User><UserName>a.b<"
        ),
        "{}",
        user.text()
    );
    assert!(user.text().contains(&format!("<RequestId>{}</RequestId>", user.header("x-amzn-requestid"))));
    let url = Ask {
        method: "GET",
        path: "/?Action=GetUser&Version=2010-05-08&UserName=q".into(),
        ..Ask::new("iam")
    };
    assert!(url.send(&running).text().contains("<UserName>q</UserName>"));
    let version = Ask::form("iam", "Action=GetUser&Version=2009-01-01").send(&running);
    assert_eq!(
        version.error(),
        ("InvalidAction".into(), "Could not find operation GetUser for version 2009-01-01".into())
    );
    let exists = Ask::form("iam", "Action=CreateUser&UserName=x").send(&running);
    assert_eq!((exists.status, exists.code()), (409, "EntityAlreadyExists".into()));
    let invalid = Ask::form("iam", "Action=CreateUser&UserName=a%20b").send(&running);
    assert_eq!(invalid.code(), "ValidationError");
    assert_eq!(
        invalid.error().1,
        "The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
    );
}

#[test]
fn rpc_v2_cbor() {
    let running = start(|builder| builder.service(pipelines()));
    let ask = |operation: &str, body: &[u8]| {
        Ask {
            path: format!("/service/CodePipeline_20150709/operation/{operation}"),
            ..Ask::new("codepipeline")
        }
        .header("smithy-protocol", "rpc-v2-cbor")
        .header("content-type", "application/cbor")
        .body(body)
        .send(&running)
    };
    let answer = ask("GetPipeline", b"\xa1\x64name\x62p1");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, b"\xa1\x68pipeline\xa1\x64name\x62p1");
    assert_eq!(answer.header("smithy-protocol"), "rpc-v2-cbor");
    assert_eq!(answer.header("content-type"), "application/cbor");
    let missing = ask("GetPipeline", b"\xa1\x64name\x67missing");
    assert_eq!(missing.status, 400);
    let text = String::from_utf8_lossy(&missing.body).into_owned();
    assert!(text.contains("com.amazonaws.codepipeline#PipelineNotFoundException"), "{text}");
    assert_eq!(ask("PutWebhook", b"").status, 501);
    assert_eq!(ask("GetPipeline", b"\xa1").status, 400);
}

#[test]
fn failures_of_the_handler() {
    let running = start(|builder| builder.service(pipelines()));
    for name in ["panic", "broken"] {
        let answer = get(name).send(&running);
        assert_eq!((answer.status, answer.code()), (500, "InternalFailure".into()));
        assert!(!answer.text().contains("disk") && !answer.text().contains("handler's"), "{}", answer.text());
    }
    let missing = get("missing").send(&running);
    assert_eq!((missing.status, missing.code()), (400, "PipelineNotFoundException".into()));
    assert_eq!(get("p1").send(&running).status, 200, "the server goes on");
}

#[test]
fn wrong_inputs_never_reach_the_handler() {
    let pipelines = pipelines();
    let running = start(|builder| builder.service(pipelines.clone()).body_limit("codepipeline", 1000));
    let ask = |body: &str| Ask::json("codepipeline", GET, body).send(&running);
    assert_eq!(ask(r#"{"name":1}"#).code(), "SerializationException");
    assert_eq!(ask("{").code(), "SerializationException");
    assert_eq!(ask(r#"{"name":"a b"}"#).code(), "ValidationException");
    assert_eq!(
        ask("{}").error().1,
        "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"
    );
    let large = ask(&" ".repeat(1001));
    assert_eq!((large.status, large.code()), (413, "RequestEntityTooLargeException".into()));
    let zipped = Ask::json("codepipeline", GET, "{}").header("content-encoding", "gzip").send(&running);
    assert!(zipped.error().1.contains("gzip"));
    assert_eq!(pipelines.count(), 0);
}

#[test]
fn gzip_where_the_model_has_it() {
    let metrics = Fake::new(&models::METRICS, |_, _, input| Ok(input));
    let running = start(|builder| builder.service(metrics).body_limit("metrics", 10_000));
    let zip = |text: &str| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text.as_bytes()).unwrap();
        writer.finish().unwrap()
    };
    let ask = |body: Vec<u8>| {
        Ask::json("monitoring", "Metrics.Put", "")
            .header("content-encoding", "gzip")
            .header("x-amzn-query-mode", "true")
            .body(body)
            .send(&running)
    };
    let answer = ask(zip(r#"{"Name":"n"}"#));
    assert_eq!((answer.status, answer.text()), (200, r#"{"Name":"n"}"#));
    // Only 1.0 is in the model, whatever the client's content type says.
    assert_eq!(answer.header("content-type"), "application/x-amz-json-1.0");
    let bomb = ask(zip(&" ".repeat(1_000_000)));
    assert_eq!(bomb.status, 413);
    let invalid = ask(zip("{}"));
    assert_eq!(invalid.header("x-amzn-query-error"), "ValidationError;Sender");
}

#[test]
fn every_call_is_observed() {
    let seen: Seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let running = start(|builder| {
        builder.service(pipelines()).observe(move |observation| {
            sink.lock().unwrap().push(format!(
                "{} {} {} {} {}",
                observation.service.unwrap_or("-"),
                observation.operation.unwrap_or("-"),
                observation.call.map(|call| call.caller.arn()).unwrap_or("nobody".into()),
                observation.input.and_then(|input| input.get("name")?.as_str()).unwrap_or("-"),
                observation.error.map(|error| error.code.to_string()).unwrap_or("ok".into()),
            ));
        })
    });
    get("p1").send(&running);
    get("missing").send(&running);
    get("p1").unsigned().send(&running);
    Ask::json("ssm", "AmazonSSM.GetParameter", "{}").send(&running);
    let alice = "arn:aws:iam::000000000000:user/alice";
    assert_eq!(
        *seen.lock().unwrap(),
        [
            format!("codepipeline GetPipeline {alice} p1 ok"),
            format!("codepipeline GetPipeline {alice} missing PipelineNotFoundException"),
            "codepipeline GetPipeline nobody - MissingAuthenticationTokenException".to_owned(),
            format!("- AmazonSSM.GetParameter {alice} - NotImplemented"),
        ]
    );
}

#[test]
fn rest_json_with_an_encoded_path() {
    let functions = Fake::new(&models::FUNCTIONS, |_, _, input| Ok(input));
    let running = start(|builder| builder.service(functions));
    let ask = |path: &str, body: &str| {
        Ask { method: "PUT", path: path.into(), ..Ask::new("functions") }
            .header("x-revision", "r1")
            .body(body)
            .send(&running)
    };
    let answer = ask("/functions/arn%3Aaws%3Aa/code?Qualifier=q%201", r#"{"Note":"n"}"#);
    assert_eq!((answer.status, answer.text()), (201, r#"{"Note":"n"}"#));
    assert_eq!(answer.header("x-revision"), "r1");
    let long = ask(&format!("/functions/{}/code", "a".repeat(61)), "");
    assert_eq!(long.header("x-amzn-errortype"), "ValidationException");
    assert!(long.error().1.contains("at 'arn'"));
    let unknown = ask("/functions/a/nope", "");
    assert_eq!((unknown.status, unknown.code()), (400, "UnknownOperationException".into()));
    assert!(unknown.error().1.contains("PUT /functions/a/nope"));
    let wrong = Ask { key: Some((KEY, "wrong", None)), ..Ask::new("functions") }.send(&running);
    assert_eq!((wrong.status, wrong.code()), (403, "InvalidSignatureException".into()));
}
