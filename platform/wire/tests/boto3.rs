//! Runs `tests/boto3/wire.py`: boto3 as it comes from PyPI. Needs `python3` with `boto3`.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use support::*;
use towpath_api::{ApiError, Node, Timestamp};

fn text(node: &Node, name: &str) -> Node {
    node.get(name).cloned().unwrap_or_default()
}

fn iam(operation: &str, input: Node) -> Result<Node, ApiError> {
    let created = Node::Time(Timestamp::from_millis(1_700_000_000_000));
    match operation {
        "CreateUser" => Ok(map(vec![(
            "User",
            map(vec![
                ("Path", text(&input, "Path")),
                ("UserName", text(&input, "UserName")),
                ("UserId", str("AIDABOB")),
                ("Arn", str("arn:aws:iam::000000000000:user/bob")),
                ("CreateDate", created),
                ("Tags", text(&input, "Tags")),
            ]),
        )])),
        "ListUsers" => Ok(map(vec![("Users", Node::List(vec![])), ("IsTruncated", Node::Bool(false))])),
        "DeleteUser" => Ok(map(vec![])),
        "CreateGroup" => Err(towpath_api_iam::errors::entity_already_exists_exception("exists")),
        "CreateRole" => Ok(map(vec![(
            "Role",
            map(vec![
                ("RoleName", text(&input, "RoleName")),
                // As IAM does, URL-encoded; boto3 decodes it.
                (
                    "AssumeRolePolicyDocument",
                    match text(&input, "AssumeRolePolicyDocument") {
                        Node::Str(document) => str(&towpath_wire::uri::encode(&document)),
                        other => other,
                    },
                ),
            ]),
        )])),
        other => Err(ApiError::not_implemented(other)),
    }
}

fn codepipeline(operation: &str, input: Node) -> Result<Node, ApiError> {
    match operation {
        "CreatePipeline" => Ok(map(vec![("pipeline", text(&input, "pipeline"))])),
        "GetPipelineState" => Ok(map(vec![
            ("pipelineName", text(&input, "name")),
            ("pipelineVersion", Node::Int(7)),
            ("stageStates", Node::List(vec![])),
            ("created", Node::Time(Timestamp::from_millis(1_700_000_000_123))),
        ])),
        "GetPipeline" => {
            Err(towpath_api_codepipeline::errors::pipeline_not_found_exception("no such pipeline"))
        }
        other => Err(ApiError::not_implemented(other)),
    }
}

fn codecommit(operation: &str, input: Node) -> Result<Node, ApiError> {
    match (operation, input.get("fileContent")) {
        ("PutFile", Some(Node::Blob(content))) => Ok(map(vec![
            ("commitId", str("c")),
            ("blobId", str(&content.len().to_string())),
            ("treeId", str("t")),
        ])),
        ("GetBlob", _) => {
            let content: Vec<u8> = (0..=255).collect();
            Ok(map(vec![("content", Node::Blob(content.into()))]))
        }
        (other, _) => Err(ApiError::not_implemented(other)),
    }
}

fn logs(operation: &str, input: Node) -> Result<Node, ApiError> {
    match (operation, input.get("logEvents")) {
        ("PutLogEvents", Some(Node::List(events))) => {
            Ok(map(vec![("nextSequenceToken", str(&events.len().to_string()))]))
        }
        (other, _) => Err(ApiError::not_implemented(other)),
    }
}

#[test]
fn boto3_is_understood() {
    let running = start(|builder| {
        builder
            .service(Fake::new(&towpath_api_iam::MODEL, |_, operation, input| iam(operation, input)))
            .service(Fake::new(&towpath_api_sts::MODEL, |call, _, _| {
                Ok(map(vec![
                    ("UserId", str(&call.caller.user_id())),
                    ("Account", str(&call.account)),
                    ("Arn", str(&call.caller.arn())),
                ]))
            }))
            .service(Fake::new(&towpath_api_codepipeline::MODEL, |_, operation, input| {
                codepipeline(operation, input)
            }))
            .service(Fake::new(&towpath_api_codecommit::MODEL, |_, operation, input| {
                codecommit(operation, input)
            }))
            .service(Fake::new(&towpath_api_logs::MODEL, |_, operation, input| logs(operation, input)))
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3/wire.py");
    let output = Command::new("python3").arg(script).arg(format!("http://{}", running.address)).output();
    let output = output.unwrap_or_else(|error| panic!("python3 did not start: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("No module named 'boto3'"), "this test needs boto3: pip install boto3");
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
}
