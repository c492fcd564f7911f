//! Every operation is denied to whoever has no policy for it, and says under which ARN it asked.

use crate::support::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use towpath_api::*;

/// One valid request per operation, and the resource that a policy must name.
fn requests(deployment: &str) -> BTreeMap<&'static str, (Value, &'static str)> {
    let application = "application:shop";
    let group = "deploymentgroup:shop/prod";
    let config = "deploymentconfig:Mine";
    let instance = "instance:web-1";
    let revision = json!({"revisionType": "S3", "s3Location": {"bucket": "bucket", "key": "v1.zip", "bundleType": "zip"}});
    let app = json!({"applicationName": "shop"});
    let app_group = json!({"applicationName": "shop", "deploymentGroupName": "prod"});
    let of = json!({"deploymentId": deployment});
    let app_revision = json!({"applicationName": "shop", "revision": revision});
    let hosts = json!({"instanceNames": ["web-1"], "tags": [{"Key": "a", "Value": "b"}]});
    let arn = format!("arn:aws:codedeploy:us-east-1:{ACCOUNT}:application:shop");
    BTreeMap::from([
        ("CreateApplication", (app.clone(), application)),
        ("GetApplication", (app.clone(), application)),
        ("BatchGetApplications", (json!({"applicationNames": ["shop"]}), application)),
        ("ListApplications", (json!({}), "application:*")),
        ("UpdateApplication", (app.clone(), application)),
        ("DeleteApplication", (app.clone(), application)),
        ("CreateDeploymentConfig", (json!({"deploymentConfigName": "Mine", "minimumHealthyHosts": {"type": "HOST_COUNT", "value": 1}}), config)),
        ("GetDeploymentConfig", (json!({"deploymentConfigName": "Mine"}), config)),
        ("ListDeploymentConfigs", (json!({}), "deploymentconfig:*")),
        ("DeleteDeploymentConfig", (json!({"deploymentConfigName": "Mine"}), config)),
        ("CreateDeploymentGroup", (json!({"applicationName": "shop", "deploymentGroupName": "prod", "serviceRoleArn": ROLE}), group)),
        ("GetDeploymentGroup", (app_group.clone(), group)),
        ("BatchGetDeploymentGroups", (json!({"applicationName": "shop", "deploymentGroupNames": ["prod"]}), group)),
        ("UpdateDeploymentGroup", (json!({"applicationName": "shop", "currentDeploymentGroupName": "prod"}), group)),
        ("ListDeploymentGroups", (app.clone(), "deploymentgroup:shop/*")),
        ("DeleteDeploymentGroup", (app_group.clone(), group)),
        ("RegisterApplicationRevision", (app_revision.clone(), application)),
        ("GetApplicationRevision", (app_revision, application)),
        ("BatchGetApplicationRevisions", (json!({"applicationName": "shop", "revisions": [revision]}), application)),
        ("ListApplicationRevisions", (app, application)),
        ("CreateDeployment", (json!({"applicationName": "shop", "deploymentGroupName": "prod", "revision": revision}), group)),
        ("GetDeployment", (of.clone(), group)),
        ("BatchGetDeployments", (json!({"deploymentIds": [deployment]}), group)),
        ("ListDeployments", (app_group, group)),
        ("StopDeployment", (of.clone(), group)),
        ("ListDeploymentTargets", (of.clone(), group)),
        ("GetDeploymentTarget", (json!({"deploymentId": deployment, "targetId": "web-1"}), group)),
        ("BatchGetDeploymentTargets", (json!({"deploymentId": deployment, "targetIds": ["web-1"]}), group)),
        ("ListDeploymentInstances", (of, group)),
        ("GetDeploymentInstance", (json!({"deploymentId": deployment, "instanceId": "web-1"}), group)),
        ("BatchGetDeploymentInstances", (json!({"deploymentId": deployment, "instanceIds": ["web-1"]}), group)),
        ("RegisterOnPremisesInstance", (json!({"instanceName": "web-1", "iamUserArn": user_arn("web-1")}), instance)),
        ("DeregisterOnPremisesInstance", (json!({"instanceName": "web-1"}), instance)),
        ("GetOnPremisesInstance", (json!({"instanceName": "web-1"}), instance)),
        ("BatchGetOnPremisesInstances", (json!({"instanceNames": ["web-1"]}), instance)),
        ("ListOnPremisesInstances", (json!({}), "*")),
        ("AddTagsToOnPremisesInstances", (hosts.clone(), instance)),
        ("RemoveTagsFromOnPremisesInstances", (hosts, instance)),
        ("TagResource", (json!({"ResourceArn": arn, "Tags": [{"Key": "a", "Value": "b"}]}), application)),
        ("UntagResource", (json!({"ResourceArn": arn, "TagKeys": ["a"]}), application)),
        ("ListTagsForResource", (json!({"ResourceArn": arn}), application)),
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
