//! No operation without its permission: each is refused to a caller who may do nothing, under the action
//! of its own name, and changes nothing.

use super::*;
use towpath_api::{Dispatch, Node};

fn input() -> Node {
    let text = |value: &str| Node::Str(value.to_owned());
    let map = |entries: Vec<(&str, Node)>| {
        Node::Map(entries.into_iter().map(|(key, value)| (key.to_owned().into(), value)).collect())
    };
    let type_id = map(vec![
        ("category", text("Test")),
        ("owner", text("Custom")),
        ("provider", text("Jenkins")),
        ("version", text("1")),
    ]);
    map(vec![
        ("name", text("web")),
        ("pipelineName", text("web")),
        ("stageName", text("Approve")),
        ("actionName", text("Ask")),
        ("pipeline", map(vec![("name", text("web"))])),
        ("resourceArn", text("arn:aws:codepipeline:us-east-1:000000000000:web")),
        ("actionTypeId", type_id),
        ("category", text("Test")),
        ("provider", text("Jenkins")),
        ("version", Node::Null),
        ("jobId", text("j1")),
    ])
}

fn resource(operation: &str) -> &'static str {
    const PIPELINE: &str = "arn:aws:codepipeline:us-east-1:000000000000:web";
    match operation {
        "RetryStageExecution" | "RollbackStage" | "DisableStageTransition" | "EnableStageTransition" => {
            "arn:aws:codepipeline:us-east-1:000000000000:web/Approve"
        }
        "PutApprovalResult" => "arn:aws:codepipeline:us-east-1:000000000000:web/Approve/Ask",
        "ListPipelines" => "arn:aws:codepipeline:us-east-1:000000000000:*",
        "PollForJobs" => "arn:aws:codepipeline:us-east-1:000000000000:actiontype:Custom/Test/Jenkins/1",
        "CreateCustomActionType" | "DeleteCustomActionType" => {
            "arn:aws:codepipeline:us-east-1:000000000000:actiontype:Custom/Test/Jenkins/"
        }
        "AcknowledgeJob"
        | "GetJobDetails"
        | "PutJobSuccessResult"
        | "PutJobFailureResult"
        | "ListActionTypes" => "*",
        _ => PIPELINE,
    }
}

#[tokio::test]
async fn every_operation_is_refused_without_its_permission() {
    let (town, _folder, life, _) = begin(journey()).await;
    town.policies.deny("nobody", "*");
    let nobody = call(&town.policies, "nobody");
    let server = towpath_api_codepipeline::Server(life.service.clone());
    for operation in server.model().operations {
        let error = server.dispatch(&nobody, operation.name, input()).await.unwrap_err();
        assert_eq!(error.code, "AccessDeniedException", "{}: {error}", operation.name);
        let asked =
            town.policies.asked.lock().unwrap().iter().rfind(|(who, ..)| who == "nobody").cloned().unwrap();
        let expected = (format!("codepipeline:{}", operation.name), resource(operation.name).to_owned());
        assert_eq!((asked.1, asked.2), expected);
    }
    assert_eq!(life.executions().await.len(), 1);
}

/// The same calls reach the domain for somebody who may make them: the refusals above are the policy's.
#[tokio::test]
async fn the_same_calls_get_further_with_permission() {
    let (town, _folder, life, _) = begin(journey()).await;
    let server = towpath_api_codepipeline::Server(life.service.clone());
    let somebody = call(&town.policies, "somebody");
    for operation in server.model().operations {
        if let Err(error) = server.dispatch(&somebody, operation.name, input()).await {
            assert_ne!(error.code, "AccessDeniedException", "{}: {error}", operation.name);
        }
    }
}

#[tokio::test]
async fn a_role_can_be_handed_over_only_by_who_may_pass_it() {
    let town = Town::default();
    let folder = tempfile::tempdir().unwrap();
    let life = town.life(folder.path()).await;
    town.policies.deny("me", "iam:PassRole");
    let error = life.create(journey()).await.unwrap_err();
    assert!(error.code == "AccessDeniedException" && error.message.contains("iam:PassRole"), "{error}");
    town.policies.allow("me", "iam:PassRole");
    let role = "arn:aws:iam::000000000000:role/pipeline";
    town.policies.unknown_roles.lock().unwrap().insert(role.into());
    let error = life.create(journey()).await.unwrap_err();
    assert_eq!(error.message, format!("CodePipeline is not authorized to perform AssumeRole on role {role}"));
    assert_eq!(error.code, "InvalidStructureException");
}
