//! Every operation is denied to whoever has no policy for it, and says under which ARN it asked.

use crate::support::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use towpath_api::*;

type Requests = BTreeMap<&'static str, (Value, &'static str)>;

const APPLICATION: &str = "application:shop";
const GROUP: &str = "deploymentgroup:shop/prod";
const CONFIG: &str = "deploymentconfig:Mine";
const INSTANCE: &str = "instance:web-1";

/// One valid request per operation, and the resource that a policy must name.
fn requests(deployment: &str) -> Requests {
    let mut all = settings();
    all.extend(about_deployments(deployment));
    all.extend(about_hosts());
    all
}

fn settings() -> Requests {
    let app = json!({"applicationName": "shop"});
    let config = json!({"deploymentConfigName": "Mine"});
    let group = json!({"applicationName": "shop", "deploymentGroupName": "prod"});
    let mut new_config = config.clone();
    new_config["minimumHealthyHosts"] = json!({"type": "HOST_COUNT", "value": 1});
    let mut new_group = group.clone();
    new_group["serviceRoleArn"] = ROLE.into();
    let groups = json!({"applicationName": "shop", "deploymentGroupNames": ["prod"]});
    let update = json!({"applicationName": "shop", "currentDeploymentGroupName": "prod"});
    let arn = format!("arn:aws:codedeploy:us-east-1:{ACCOUNT}:application:shop");
    let tags = json!({"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "b"}]});
    BTreeMap::from([
        ("CreateApplication", (app.clone(), APPLICATION)),
        ("GetApplication", (app.clone(), APPLICATION)),
        ("BatchGetApplications", (json!({"applicationNames": ["shop"]}), APPLICATION)),
        ("ListApplications", (json!({}), "application:*")),
        ("UpdateApplication", (app.clone(), APPLICATION)),
        ("DeleteApplication", (app.clone(), APPLICATION)),
        ("CreateDeploymentConfig", (new_config, CONFIG)),
        ("GetDeploymentConfig", (config.clone(), CONFIG)),
        ("ListDeploymentConfigs", (json!({}), "deploymentconfig:*")),
        ("DeleteDeploymentConfig", (config, CONFIG)),
        ("CreateDeploymentGroup", (new_group, GROUP)),
        ("GetDeploymentGroup", (group.clone(), GROUP)),
        ("BatchGetDeploymentGroups", (groups, GROUP)),
        ("UpdateDeploymentGroup", (update, GROUP)),
        ("ListDeploymentGroups", (app, "deploymentgroup:shop/*")),
        ("DeleteDeploymentGroup", (group, GROUP)),
        ("TagResource", (tags, APPLICATION)),
        ("UntagResource", (json!({"ResourceArn": arn, "TagKeys": ["a"]}), APPLICATION)),
        ("ListTagsForResource", (json!({"ResourceArn": arn}), APPLICATION)),
    ])
}

fn about_deployments(deployment: &str) -> Requests {
    let revision = json!({
        "revisionType": "S3",
        "s3Location": {"bucket": "bucket", "key": "v1.zip", "bundleType": "zip"},
    });
    let one = json!({"applicationName": "shop", "revision": revision});
    let many = json!({"applicationName": "shop", "revisions": [revision]});
    let group = json!({"applicationName": "shop", "deploymentGroupName": "prod"});
    let mut new = group.clone();
    new["revision"] = revision;
    let of = json!({"deploymentId": deployment});
    let with = |member: &str, value: Value| {
        let mut input = of.clone();
        input[member] = value;
        input
    };
    BTreeMap::from([
        ("RegisterApplicationRevision", (one.clone(), APPLICATION)),
        ("GetApplicationRevision", (one, APPLICATION)),
        ("BatchGetApplicationRevisions", (many, APPLICATION)),
        ("ListApplicationRevisions", (json!({"applicationName": "shop"}), APPLICATION)),
        ("CreateDeployment", (new, GROUP)),
        ("GetDeployment", (of.clone(), GROUP)),
        ("BatchGetDeployments", (json!({"deploymentIds": [deployment]}), GROUP)),
        ("ListDeployments", (group, GROUP)),
        ("StopDeployment", (of.clone(), GROUP)),
        ("ListDeploymentTargets", (of.clone(), GROUP)),
        ("GetDeploymentTarget", (with("targetId", "web-1".into()), GROUP)),
        ("BatchGetDeploymentTargets", (with("targetIds", json!(["web-1"])), GROUP)),
        ("ListDeploymentInstances", (of.clone(), GROUP)),
        ("GetDeploymentInstance", (with("instanceId", "web-1".into()), GROUP)),
        ("BatchGetDeploymentInstances", (with("instanceIds", json!(["web-1"])), GROUP)),
    ])
}

fn about_hosts() -> Requests {
    let name = json!({"instanceName": "web-1"});
    let names = json!({"instanceNames": ["web-1"]});
    let mut register = name.clone();
    register["iamUserArn"] = user_arn("web-1").into();
    let mut tags = names.clone();
    tags["tags"] = json!([{"Key": "a", "Value": "b"}]);
    BTreeMap::from([
        ("RegisterOnPremisesInstance", (register, INSTANCE)),
        ("DeregisterOnPremisesInstance", (name.clone(), INSTANCE)),
        ("GetOnPremisesInstance", (name, INSTANCE)),
        ("BatchGetOnPremisesInstances", (names, INSTANCE)),
        ("ListOnPremisesInstances", (json!({}), "*")),
        ("AddTagsToOnPremisesInstances", (tags.clone(), INSTANCE)),
        ("RemoveTagsFromOnPremisesInstances", (tags, INSTANCE)),
    ])
}

#[tokio::test]
async fn every_operation_is_denied_without_a_policy() {
    let world = World::new().await;
    world.fleet(&["web-1"], "CodeDeployDefault.OneAtATime").await;
    let deployment = world.deploy("v1.zip").await;
    world.started(&deployment).await;
    let server = towpath_api_codedeploy::Server(world.service.clone());
    let requests = requests(&deployment);
    for operation in server.model().operations {
        let (input, resource) = requests.get(operation.name).unwrap_or_else(|| panic!("{}", operation.name));
        let gate = Arc::new(FakeGate { deny_all: true, ..FakeGate::default() });
        let caller = Caller::User { arn: user_arn("nobody"), name: "nobody".into(), id: "AIDANOBODY".into() };
        let call = call_as(caller, gate.clone());
        let node: Node = serde_json::from_value(input.clone()).unwrap();
        let denied = server.dispatch(&call, operation.name, node).await.expect_err(operation.name);
        assert_eq!(denied.code, "AccessDeniedException", "{}", operation.name);
        let full = match *resource {
            "*" => "*".to_owned(),
            resource => format!("arn:aws:codedeploy:us-east-1:{ACCOUNT}:{resource}"),
        };
        let asked = gate.asked.lock().unwrap().clone();
        assert_eq!(asked, [(format!("codedeploy:{}", operation.name), full)], "{}", operation.name);
    }
    assert_eq!(requests.len(), server.model().operations.len());
    let info = world.info(&deployment).await;
    assert_eq!(info.status.as_deref(), Some("InProgress"), "nothing was changed");
    world.stop().await;
}

#[tokio::test]
async fn passing_a_role_and_using_a_configuration_need_their_own_permission() {
    use towpath_api_codedeploy::*;
    let world = World::new().await;
    world.fleet(&["web-1"], "CodeDeployDefault.OneAtATime").await;
    let without = |action: &str| {
        let gate = FakeGate { denied: [action.to_owned()].into(), ..FakeGate::default() };
        call_as(Caller::Root { account: ACCOUNT.into() }, Arc::new(gate))
    };
    let group = CreateDeploymentGroupInput {
        application_name: Some("shop".into()),
        deployment_group_name: Some("other".into()),
        service_role_arn: Some(ROLE.into()),
        ..Default::default()
    };
    let denied = world.service.create_deployment_group(&without("iam:PassRole"), group).await;
    assert_eq!(code(denied), "AccessDeniedException");
    let update = UpdateDeploymentGroupInput {
        application_name: Some("shop".into()),
        current_deployment_group_name: Some("prod".into()),
        service_role_arn: Some(ROLE.into()),
        ..Default::default()
    };
    let denied = world.service.update_deployment_group(&without("iam:PassRole"), update).await;
    assert_eq!(code(denied), "AccessDeniedException");
    let config = without("codedeploy:GetDeploymentConfig");
    let denied = world.service.create_deployment(&config, world.request("v1.zip")).await;
    assert_eq!(code(denied), "AccessDeniedException");
    world.stop().await;
}
