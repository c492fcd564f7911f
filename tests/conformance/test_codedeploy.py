"""CodeDeploy's API through boto3 and the aws CLI: shapes and errors, without a host."""

import json

import pytest
from accounts import zipped
from botocore.exceptions import ClientError
from server import wait_for


def refused(call, *codes):
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["Error"]["Code"] in codes, caught.value.response["Error"]
    return caught.value.response["Error"]["Message"]


@pytest.fixture
def application(account):
    account.codedeploy.create_application(applicationName=account.name, computePlatform="Server")
    return account.name


@pytest.fixture
def group(account, application):
    account.codedeploy.create_deployment_group(
        applicationName=application, deploymentGroupName="g", serviceRoleArn=account.role("codedeploy"))
    return "g"


def revision(account, key="one.zip"):
    bucket = account.bucket()
    account.s3.put_object(Bucket=bucket, Key=key, Body=zipped({"appspec.yml": "version: 0.0\nos: linux\n"}))
    return {"revisionType": "S3", "s3Location": {"bucket": bucket, "key": key, "bundleType": "zip"}}


def test_applications(account, application):
    deploy = account.codedeploy
    told = deploy.get_application(applicationName=application)["application"]
    assert told["computePlatform"] == "Server" and told["applicationId"] and not told["linkedToGitHub"]
    refused(lambda: deploy.create_application(applicationName=application), "ApplicationAlreadyExistsException")
    refused(lambda: deploy.create_application(applicationName="a" * 101), "InvalidApplicationNameException", "ValidationException")
    refused(lambda: deploy.get_application(applicationName="absent"), "ApplicationDoesNotExistException")
    deploy.update_application(applicationName=application, newApplicationName=application + "2")
    refused(lambda: deploy.get_application(applicationName=application), "ApplicationDoesNotExistException")
    assert application + "2" in account.server.aws("deploy", "list-applications")["applications"]
    deploy.delete_application(applicationName=application + "2")
    refused(lambda: deploy.get_application(applicationName=application + "2"), "ApplicationDoesNotExistException")


def test_what_is_for_clouds_is_refused_by_name(account, application):
    deploy = account.codedeploy
    for platform in ("ECS", "Lambda"):
        with pytest.raises(ClientError) as caught:
            deploy.create_application(applicationName=f"{application}-{platform}", computePlatform=platform)
        assert platform in caught.value.response["Error"]["Message"]
    role = account.role("codedeploy")
    for more in [{"ec2TagFilters": [{"Key": "a", "Type": "KEY_ONLY"}]}, {"autoScalingGroups": ["a"]},
                 {"deploymentStyle": {"deploymentType": "BLUE_GREEN", "deploymentOption": "WITH_TRAFFIC_CONTROL"}},
                 {"loadBalancerInfo": {"elbInfoList": [{"name": "a"}]}}]:
        with pytest.raises(ClientError):
            deploy.create_deployment_group(applicationName=application, deploymentGroupName="g", serviceRoleArn=role, **more)
    assert deploy.list_deployment_groups(applicationName=application)["deploymentGroups"] == []


def test_groups(account, application, group):
    deploy = account.codedeploy
    told = deploy.get_deployment_group(applicationName=application, deploymentGroupName=group)["deploymentGroupInfo"]
    assert told["deploymentConfigName"] == "CodeDeployDefault.OneAtATime" and told["computePlatform"] == "Server"
    refused(lambda: deploy.create_deployment_group(applicationName=application, deploymentGroupName=group,
                                                   serviceRoleArn=told["serviceRoleArn"]), "DeploymentGroupAlreadyExistsException")
    refused(lambda: deploy.create_deployment_group(applicationName="absent", deploymentGroupName="h",
                                                   serviceRoleArn=told["serviceRoleArn"]), "ApplicationDoesNotExistException")
    refused(lambda: deploy.create_deployment_group(applicationName=application, deploymentGroupName="h",
                                                   serviceRoleArn="arn:aws:iam::000000000000:role/absent"), "InvalidRoleException")
    refused(lambda: deploy.create_deployment_group(applicationName=application, deploymentGroupName="h",
                                                   serviceRoleArn=account.role("codebuild")), "InvalidRoleException")
    refused(lambda: deploy.create_deployment_group(
        applicationName=application, deploymentGroupName="h", serviceRoleArn=told["serviceRoleArn"],
        deploymentConfigName="absent"), "DeploymentConfigDoesNotExistException")
    refused(lambda: deploy.create_deployment_group(
        applicationName=application, deploymentGroupName="h", serviceRoleArn=told["serviceRoleArn"],
        onPremisesInstanceTagFilters=[{"Key": "a", "Type": "KEY_ONLY"}],
        onPremisesTagSet={"onPremisesTagSetList": [[{"Key": "a", "Type": "KEY_ONLY"}]]}),
        "InvalidOnPremisesTagCombinationException")
    account.server.aws("deploy", "update-deployment-group", "--application-name", application,
                       "--current-deployment-group-name", group, "--new-deployment-group-name", "renamed",
                       "--deployment-config-name", "CodeDeployDefault.AllAtOnce")
    told = deploy.get_deployment_group(applicationName=application, deploymentGroupName="renamed")["deploymentGroupInfo"]
    assert told["deploymentConfigName"] == "CodeDeployDefault.AllAtOnce"
    refused(lambda: deploy.get_deployment_group(applicationName=application, deploymentGroupName=group),
            "DeploymentGroupDoesNotExistException")
    assert deploy.delete_deployment_group(applicationName=application, deploymentGroupName="renamed") is not None


def test_configurations(account):
    deploy, name = account.codedeploy, account.name
    predefined = deploy.get_deployment_config(deploymentConfigName="CodeDeployDefault.HalfAtATime")["deploymentConfigInfo"]
    assert predefined["minimumHealthyHosts"] == {"type": "FLEET_PERCENT", "value": 50}
    listed = account.server.aws("deploy", "list-deployment-configs")["deploymentConfigsList"]
    assert {f"CodeDeployDefault.{one}" for one in ("OneAtATime", "HalfAtATime", "AllAtOnce")} <= set(listed)
    deploy.create_deployment_config(deploymentConfigName=name, minimumHealthyHosts={"type": "HOST_COUNT", "value": 3})
    refused(lambda: deploy.create_deployment_config(
        deploymentConfigName=name, minimumHealthyHosts={"type": "HOST_COUNT", "value": 3}), "DeploymentConfigAlreadyExistsException")
    refused(lambda: deploy.create_deployment_config(
        deploymentConfigName=name + "2", minimumHealthyHosts={"type": "FLEET_PERCENT", "value": 101}),
        "InvalidMinimumHealthyHostValueException")
    refused(lambda: deploy.delete_deployment_config(deploymentConfigName="CodeDeployDefault.OneAtATime"), "InvalidOperationException")
    deploy.delete_deployment_config(deploymentConfigName=name)
    refused(lambda: deploy.get_deployment_config(deploymentConfigName=name), "DeploymentConfigDoesNotExistException")


def test_a_deployment_to_nobody_fails_and_says_so(account, application, group):
    deploy = account.codedeploy
    made = deploy.create_deployment(applicationName=application, deploymentGroupName=group, revision=revision(account),
                                    description="to nobody")["deploymentId"]
    assert made.startswith("d-")
    told = wait_for(lambda: (lambda found: found if found["status"] == "Failed" else None)(
        deploy.get_deployment(deploymentId=made)["deploymentInfo"]), "the deployment fails")
    assert told["errorInformation"]["code"] == "NO_INSTANCES" and told["description"] == "to nobody"
    assert told["creator"] == "user" and told["completeTime"] >= told["createTime"]
    assert deploy.list_deployment_targets(deploymentId=made)["targetIds"] == []
    assert made in account.server.aws("deploy", "list-deployments", "--application-name", application,
                                      "--deployment-group-name", group, "--include-only-statuses", "Failed")["deployments"]
    refused(lambda: deploy.stop_deployment(deploymentId=made), "DeploymentAlreadyCompletedException")
    refused(lambda: deploy.get_deployment_target(deploymentId=made, targetId="absent"),
            "DeploymentTargetDoesNotExistException", "InvalidDeploymentTargetIdException")


def test_deployments_that_cannot_begin(account, application, group):
    deploy, good = account.codedeploy, revision(account)
    start = lambda **more: deploy.create_deployment(**{"applicationName": application, "deploymentGroupName": group,
                                                       "revision": good} | more)
    refused(lambda: start(applicationName="absent"), "ApplicationDoesNotExistException")
    refused(lambda: start(deploymentGroupName="absent"), "DeploymentGroupDoesNotExistException")
    refused(lambda: deploy.create_deployment(applicationName=application, deploymentGroupName=group), "RevisionRequiredException")
    refused(lambda: start(revision={"revisionType": "S3", "s3Location": {"bucket": "b"}}), "InvalidRevisionException")
    refused(lambda: start(deploymentConfigName="absent"), "DeploymentConfigDoesNotExistException")
    refused(lambda: start(fileExistsBehavior="MAYBE"), "InvalidFileExistsBehaviorException", "ValidationException")
    refused(lambda: deploy.get_deployment(deploymentId="d-ABSENT000"), "DeploymentDoesNotExistException")
    refused(lambda: deploy.get_deployment(deploymentId="x"), "InvalidDeploymentIdException")
    assert deploy.list_deployments(applicationName=application, deploymentGroupName=group)["deployments"] == []


def test_revisions(account, application):
    deploy, one = account.codedeploy, revision(account)
    deploy.register_application_revision(applicationName=application, revision=one, description="first")
    listed = account.server.aws("deploy", "list-application-revisions", "--application-name", application)["revisions"]
    assert [found["s3Location"]["key"] for found in listed] == ["one.zip"]
    told = deploy.get_application_revision(applicationName=application, revision=one)
    assert told["revisionInfo"]["description"] == "first"
    absent = {"revisionType": "S3", "s3Location": dict(one["s3Location"], key="absent.zip")}
    refused(lambda: deploy.get_application_revision(applicationName=application, revision=absent), "RevisionDoesNotExistException")


def test_on_premises_instances(account):
    deploy, name = account.codedeploy, account.name
    user = account.iam.create_user(UserName=f"{name}-host")["User"]["Arn"]
    account.server.aws("deploy", "register-on-premises-instance", "--instance-name", name, "--iam-user-arn", user)
    refused(lambda: deploy.register_on_premises_instance(instanceName=name, iamUserArn=user), "InstanceNameAlreadyRegisteredException")
    refused(lambda: deploy.register_on_premises_instance(instanceName=name + "2", iamUserArn=user), "IamUserArnAlreadyRegisteredException")
    refused(lambda: deploy.register_on_premises_instance(instanceName=name + "2"), "IamArnRequiredException")
    account.server.aws("deploy", "add-tags-to-on-premises-instances", "--instance-names", name, "--tags",
                       json.dumps([{"Key": "role", "Value": name}]))
    found = deploy.list_on_premises_instances(tagFilters=[{"Key": "role", "Value": name, "Type": "KEY_AND_VALUE"}])
    assert found["instanceNames"] == [name]
    told = deploy.get_on_premises_instance(instanceName=name)["instanceInfo"]
    assert told["iamUserArn"] == user and told["tags"] == [{"Key": "role", "Value": name}]
    deploy.remove_tags_from_on_premises_instances(instanceNames=[name], tags=[{"Key": "role", "Value": name}])
    deploy.deregister_on_premises_instance(instanceName=name)
    refused(lambda: deploy.add_tags_to_on_premises_instances(instanceNames=["absent"], tags=[{"Key": "a"}]), "InstanceNotRegisteredException")
    listed = deploy.list_on_premises_instances(registrationStatus="Registered")["instanceNames"]
    assert name not in listed


def test_tags(account, application):
    arn = f"arn:aws:codedeploy:us-east-1:000000000000:application:{application}"
    account.codedeploy.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert account.codedeploy.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    account.codedeploy.untag_resource(ResourceArn=arn, TagKeys=["a"])
    assert account.codedeploy.list_tags_for_resource(ResourceArn=arn)["Tags"] == []
