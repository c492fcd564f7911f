"""CodeDeploy: applications, groups, configurations, revisions, hosts, deployments. The host's side of a
deployment is the agents' protocol, in `codedeploycommand`."""

from .core import FALSE, NOTHING, NOW, SOME, TEXT, Has, Table, length, matching, one_of
from .roles import delete_role, make_role

step = Table("codedeploy")
APP, GROUP = {"applicationName": "${n}-app"}, {"applicationName": "${n}-app", "deploymentGroupName": "group"}
REVISION = {"revisionType": "S3", "s3Location": {"bucket": "${n}-revisions", "key": "one.zip", "bundleType": "zip"}}
HOST, FILTER = "${n}-host", {"Key": "fleet", "Value": "${n}", "Type": "KEY_AND_VALUE"}
ARN = "arn:aws:codedeploy:us-east-1:000000000000:application:${n}-app"

make_role(step, "codedeploy", "s3:Get*")
step("CreateApplication", APP | {"computePlatform": "Server", "tags": [{"Key": "team", "Value": "a"}]}, want={
    "applicationId": matching("[0-9a-f-]{36}")})
step("CreateApplication", APP, refused="ApplicationAlreadyExistsException")
step("GetApplication", APP, want={
    "application.applicationName": "${n}-app", "application.computePlatform": "Server", "application.createTime": NOW,
    "application.linkedToGitHub": FALSE, "application.applicationId": TEXT})
step("ListApplications", want={"applications": Has("${n}-app")})
step("UpdateApplication", APP | {"newApplicationName": "${n}-other"})
step("BatchGetApplications", {"applicationNames": ["${n}-other"]}, want={
    "applicationsInfo[].applicationName": ["${n}-other"], "applicationsInfo[0].createTime": NOW})
step("UpdateApplication", {"applicationName": "${n}-other", "newApplicationName": "${n}-app"})
step("TagResource", {"ResourceArn": ARN, "Tags": [{"Key": "other", "Value": "b c"}]})
step("ListTagsForResource", {"ResourceArn": ARN}, want={"Tags[?Key=='other'] | [0].Value": "b c", "Tags": length(2)})
step("UntagResource", {"ResourceArn": ARN, "TagKeys": ["other"]})
step("ListTagsForResource", {"ResourceArn": ARN}, want={"Tags": [{"Key": "team", "Value": "a"}]})

CONFIG = {"deploymentConfigName": "${n}-config"}
step("CreateDeploymentConfig", CONFIG | {"minimumHealthyHosts": {"type": "HOST_COUNT", "value": 0}}, want={
    "deploymentConfigId": TEXT})
step("GetDeploymentConfig", CONFIG, want={
    "deploymentConfigInfo.minimumHealthyHosts": {"type": "HOST_COUNT", "value": 0},
    "deploymentConfigInfo.createTime": NOW, "deploymentConfigInfo.computePlatform": "Server"})
step("ListDeploymentConfigs", want={"deploymentConfigsList": Has("${n}-config")})

step("CreateDeploymentGroup", GROUP | {"serviceRoleArn": "${role}", "deploymentConfigName": "${n}-config",
                                       "onPremisesInstanceTagFilters": [FILTER]}, save={"group": "deploymentGroupId"},
     want={"deploymentGroupId": matching("[0-9a-f-]{36}")})
step("GetDeploymentGroup", GROUP, want={
    "deploymentGroupInfo.deploymentGroupId": "${group}", "deploymentGroupInfo.deploymentConfigName": "${n}-config",
    "deploymentGroupInfo.onPremisesInstanceTagFilters": [FILTER], "deploymentGroupInfo.serviceRoleArn": "${role}"})
step("UpdateDeploymentGroup", APP | {"currentDeploymentGroupName": "group", "newDeploymentGroupName": "renamed"})
step("BatchGetDeploymentGroups", APP | {"deploymentGroupNames": ["renamed"]}, want={
    "deploymentGroupsInfo[].deploymentGroupId": ["${group}"], "errorMessage": NOTHING})
step("UpdateDeploymentGroup", APP | {"currentDeploymentGroupName": "renamed", "newDeploymentGroupName": "group"})
step("ListDeploymentGroups", APP, want={"deploymentGroups": ["group"]})

step("CreateBucket", {"Bucket": "${n}-revisions"}, by="s3")
step("PutObject", {"Bucket": "${n}-revisions", "Key": "one.zip", "Body": "${bundle}"}, by="s3")
step("RegisterApplicationRevision", APP | {"revision": REVISION, "description": "first"})
step("GetApplicationRevision", APP | {"revision": REVISION}, want={
    "revision.s3Location.key": "one.zip", "revisionInfo.description": "first", "revisionInfo.registerTime": NOW})
step("BatchGetApplicationRevisions", APP | {"revisions": [REVISION]}, want={
    "revisions[0].genericRevisionInfo.description": "first", "revisions[0].revisionLocation.revisionType": "S3"})
step("ListApplicationRevisions", APP | {"sortBy": "registerTime", "sortOrder": "ascending"}, want={
    "revisions[].s3Location.key": ["one.zip"]})

step("CreateUser", {"UserName": HOST}, by="iam", save={"user": "User.Arn"})
step("RegisterOnPremisesInstance", {"instanceName": HOST, "iamUserArn": "${user}"})
step("AddTagsToOnPremisesInstances", {"instanceNames": [HOST], "tags": [{"Key": "fleet", "Value": "${n}"}, {"Key": "x", "Value": ""}]})
step("RemoveTagsFromOnPremisesInstances", {"instanceNames": [HOST], "tags": [{"Key": "x", "Value": ""}]})
step("GetOnPremisesInstance", {"instanceName": HOST}, want={
    "instanceInfo.instanceName": HOST, "instanceInfo.iamUserArn": "${user}", "instanceInfo.registerTime": NOW,
    "instanceInfo.instanceArn": TEXT, "instanceInfo.tags": [{"Key": "fleet", "Value": "${n}"}]})
step("BatchGetOnPremisesInstances", {"instanceNames": [HOST]}, want={"instanceInfos[].instanceName": [HOST]})
step("ListOnPremisesInstances", {"registrationStatus": "Registered", "tagFilters": [FILTER]}, want={"instanceNames": [HOST]})

step("CreateDeployment", GROUP | {"revision": REVISION, "description": "waits for its host"},
     save={"deployment": "deploymentId"}, want={"deploymentId": matching("d-[A-Z0-9]{9}")})
DEPLOYMENT = {"deploymentId": "${deployment}"}
step("GetDeployment", DEPLOYMENT, until={"deploymentInfo.status": "InProgress"})
step("ListDeploymentTargets", DEPLOYMENT, until={"targetIds": SOME}, want={"targetIds": [HOST]})
step("GetDeployment", DEPLOYMENT, want={
    "deploymentInfo.deploymentId": "${deployment}", "deploymentInfo.createTime": NOW, "deploymentInfo.creator": "user",
    "deploymentInfo.status": "InProgress", "deploymentInfo.description": "waits for its host",
    "deploymentInfo.revision.s3Location.key": "one.zip", "deploymentInfo.deploymentConfigName": "${n}-config"})
step("BatchGetDeployments", {"deploymentIds": ["${deployment}"]}, want={"deploymentsInfo[].deploymentId": ["${deployment}"],
                                                                        "deploymentsInfo[0].createTime": NOW})
step("ListDeployments", GROUP, want={"deployments": ["${deployment}"]})
step("ListDeployments", GROUP | {"includeOnlyStatuses": ["Succeeded"]}, want={"deployments": NOTHING})
TARGET = {"targetId": HOST, "deploymentId": "${deployment}"}
step("GetDeploymentTarget", TARGET, want={
    "deploymentTarget.deploymentTargetType": "InstanceTarget", "deploymentTarget.instanceTarget.targetId": HOST,
    "deploymentTarget.instanceTarget.status": one_of("Pending", "InProgress"),
    "deploymentTarget.instanceTarget.targetArn": TEXT})
step("BatchGetDeploymentTargets", DEPLOYMENT | {"targetIds": [HOST]}, want={"deploymentTargets[].instanceTarget.targetId": [HOST]})
step("ListDeploymentInstances", DEPLOYMENT, want={"instancesList": length(1)})
step("GetDeploymentInstance", DEPLOYMENT | {"instanceId": HOST}, want={
    "instanceSummary.deploymentId": "${deployment}", "instanceSummary.instanceId": TEXT, "instanceSummary.status": TEXT})
step("BatchGetDeploymentInstances", DEPLOYMENT | {"instanceIds": [HOST]}, want={
    "instancesSummary[].deploymentId": ["${deployment}"]})
step("StopDeployment", DEPLOYMENT | {"autoRollbackEnabled": False}, want={"status": one_of("Pending", "Succeeded")})
step("GetDeployment", DEPLOYMENT, until={"deploymentInfo.status": "Stopped"}, want={"deploymentInfo.completeTime": NOW})
step("StopDeployment", DEPLOYMENT, refused="DeploymentAlreadyCompletedException")

step("DeregisterOnPremisesInstance", {"instanceName": HOST})
step("ListOnPremisesInstances", {"registrationStatus": "Registered", "tagFilters": [FILTER]}, want={"instanceNames": NOTHING})
step("DeleteDeploymentGroup", GROUP, want={"hooksNotCleanedUp": NOTHING})
step("GetDeploymentGroup", GROUP, refused="DeploymentGroupDoesNotExistException")
step("DeleteDeploymentConfig", CONFIG)
step("GetDeploymentConfig", CONFIG, refused="DeploymentConfigDoesNotExistException")
step("DeleteApplication", APP)
step("GetApplication", APP, refused="ApplicationDoesNotExistException")
step("DeleteUser", {"UserName": HOST}, by="iam")
step("DeleteObject", {"Bucket": "${n}-revisions", "Key": "one.zip"}, by="s3")
step("DeleteBucket", {"Bucket": "${n}-revisions"}, by="s3")
delete_role(step, "codedeploy")
