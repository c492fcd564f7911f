"""IAM and STS through boto3: who exists, who may do what, and what stops working when."""

import json
import urllib.error
import urllib.request
import uuid

import pytest
from accounts import action, allow, trust
from botocore.exceptions import ClientError
from server import wait_for


def refused(call, *codes):
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response["Error"]
    assert error["Code"] in codes, error
    return error["Message"]


def denied(call):
    return refused(call, "AccessDenied", "AccessDeniedException")


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect, actions, resource="*", **more):
    return {"Effect": effect, "Action": actions, "Resource": resource, **more}


class Person:
    """A user with keys and clients of their own."""

    def __init__(self, account, *statements, **more):
        self.account = account
        self.name = f"{account.name}-{uuid.uuid4().hex[:6]}"
        self.arn = account.iam.create_user(UserName=self.name, **more)["User"]["Arn"]
        if statements:
            self.put(*statements)
        made = account.iam.create_access_key(UserName=self.name)["AccessKey"]
        self.keys = made["AccessKeyId"], made["SecretAccessKey"]

    def put(self, *statements):
        self.account.iam.put_user_policy(UserName=self.name, PolicyName="p", PolicyDocument=document(*statements))

    def client(self, service):
        return self.account.server.client(service, keys=self.keys)


def trusting(account, principal, **more):
    name = f"{account.name}-{uuid.uuid4().hex[:6]}"
    made = account.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal, **more}))["Role"]
    return name, made["Arn"]


# ---- entities --------------------------------------------------------------------------------------


def test_a_users_life(account):
    iam, name = account.iam, f"{account.name}-ann"
    made = iam.create_user(UserName=name, Path="/team/", Tags=[{"Key": "a", "Value": "b"}])["User"]
    assert made["Arn"] == f"arn:aws:iam::000000000000:user/team/{name}" and made["UserId"].startswith("AIDA")
    refused(lambda: iam.create_user(UserName=name), "EntityAlreadyExists")
    refused(lambda: iam.create_user(UserName=name.upper()), "EntityAlreadyExists")
    assert iam.get_user(UserName=name)["User"]["Tags"] == [{"Key": "a", "Value": "b"}]
    iam.update_user(UserName=name, NewUserName=f"{name}2")
    refused(lambda: iam.get_user(UserName=name), "NoSuchEntity")
    name = f"{name}2"
    listed = [user["UserName"] for page in iam.get_paginator("list_users").paginate(PathPrefix="/team/", MaxItems=1000)
              for user in page["Users"]]
    assert name in listed
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow("s3:*"))
    refused(lambda: iam.delete_user(UserName=name), "DeleteConflict")
    assert iam.get_user_policy(UserName=name, PolicyName="p")["PolicyDocument"] == json.loads(allow("s3:*"))
    iam.delete_user_policy(UserName=name, PolicyName="p")
    iam.delete_user(UserName=name)
    refused(lambda: iam.get_user(UserName=name), "NoSuchEntity")


def test_a_group_gives_its_members_what_it_may(account):
    iam, group = account.iam, f"{account.name}-team"
    person = Person(account)
    iam.create_group(GroupName=group)
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=allow("codepipeline:ListPipelines"))
    pipelines = person.client("codepipeline")
    denied(pipelines.list_pipelines)
    iam.add_user_to_group(GroupName=group, UserName=person.name)
    pipelines.list_pipelines()
    assert [user["UserName"] for user in iam.get_group(GroupName=group)["Users"]] == [person.name]
    assert [one["GroupName"] for one in iam.list_groups_for_user(UserName=person.name)["Groups"]] == [group]
    refused(lambda: iam.delete_group(GroupName=group), "DeleteConflict")
    iam.remove_user_from_group(GroupName=group, UserName=person.name)
    denied(pipelines.list_pipelines)


def test_a_managed_policys_versions(account):
    iam, person = account.iam, Person(account)
    arn = iam.create_policy(PolicyName=f"{account.name}-p", PolicyDocument=allow("codebuild:ListProjects"))["Policy"]["Arn"]
    iam.attach_user_policy(UserName=person.name, PolicyArn=arn)
    person.client("codebuild").list_projects()
    second = iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("codebuild:ListBuilds"))["PolicyVersion"]
    assert second["VersionId"] == "v2" and not second["IsDefaultVersion"]
    person.client("codebuild").list_projects()
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    denied(person.client("codebuild").list_projects)
    person.client("codebuild").list_builds()
    refused(lambda: iam.delete_policy_version(PolicyArn=arn, VersionId="v2"), "DeleteConflict")
    for number in (3, 4, 5):
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("s3:*"))["PolicyVersion"]["VersionId"]
        assert made == f"v{number}"
    refused(lambda: iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("s3:*")), "LimitExceeded")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    assert iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("s3:*"))["PolicyVersion"]["VersionId"] == "v6"
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    refused(lambda: iam.delete_policy(PolicyArn=arn), "DeleteConflict")
    iam.detach_user_policy(UserName=person.name, PolicyArn=arn)
    denied(person.client("codebuild").list_builds)


@pytest.mark.parametrize("text", [
    "{", "[]", "{}", '{"Version": "2012-10-17"}', document({"Effect": "Maybe", "Action": "*", "Resource": "*"}),
    document({"Effect": "Allow", "Resource": "*"}), document({"Effect": "Allow", "Action": "*"}),
    document({"Effect": "Allow", "Action": "nocolon", "Resource": "*"}),
    document({"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}),
    document({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"NoSuchOperator": {"a": "b"}}}),
    document({"Effect": "Allow", "Action": "*", "Resource": "*", "Unknown": 1})])
def test_a_policy_that_is_none(account, text):
    user = account.iam.create_user(UserName=f"{account.name}-{uuid.uuid4().hex[:4]}"[-60:])["User"]["UserName"]
    refused(lambda: account.iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=text),
            "MalformedPolicyDocument")
    assert account.iam.list_user_policies(UserName=user)["PolicyNames"] == []


def test_a_disabled_key_stops_at_once(account):
    person = Person(account, statement("Allow", "*"))
    pipelines = person.client("codepipeline")
    pipelines.list_pipelines()
    for _ in range(3):
        account.iam.update_access_key(UserName=person.name, AccessKeyId=person.keys[0], Status="Inactive")
        refused(pipelines.list_pipelines, "UnrecognizedClientException")
        refused(person.client("s3").list_buckets, "InvalidAccessKeyId")
        refused(person.client("sts").get_caller_identity, "InvalidClientTokenId")
        account.iam.update_access_key(UserName=person.name, AccessKeyId=person.keys[0], Status="Active")
        pipelines.list_pipelines()
    account.iam.delete_access_key(UserName=person.name, AccessKeyId=person.keys[0])
    refused(pipelines.list_pipelines, "UnrecognizedClientException")


def test_two_keys_and_no_more(account):
    person = Person(account)
    second = account.iam.create_access_key(UserName=person.name)["AccessKey"]
    refused(lambda: account.iam.create_access_key(UserName=person.name), "LimitExceeded")
    listed = account.iam.list_access_keys(UserName=person.name)["AccessKeyMetadata"]
    assert {key["AccessKeyId"] for key in listed} == {person.keys[0], second["AccessKeyId"]}
    assert all("SecretAccessKey" not in key for key in listed)
    used = account.iam.get_access_key_last_used(AccessKeyId=person.keys[0])["AccessKeyLastUsed"]
    assert used["ServiceName"] == "N/A"
    person.client("sts").get_caller_identity()
    last = lambda: account.iam.get_access_key_last_used(AccessKeyId=person.keys[0])["AccessKeyLastUsed"]
    assert wait_for(lambda: last()["ServiceName"] == "sts", "the use is noted")


# ---- decisions -------------------------------------------------------------------------------------


def test_an_explicit_deny_wins(account):
    one, other = account.bucket("one"), account.bucket("two")
    person = Person(account, statement("Allow", "s3:*"),
                    statement("Deny", "s3:*", [f"arn:aws:s3:::{other}", f"arn:aws:s3:::{other}/*"]))
    s3 = person.client("s3")
    s3.put_object(Bucket=one, Key="k", Body=b"x")
    assert "explicit deny" in denied(lambda: s3.put_object(Bucket=other, Key="k", Body=b"x"))


def test_resources_actions_and_conditions_are_matched(account):
    bucket = account.bucket()
    account.s3.put_object(Bucket=bucket, Key="in/a", Body=b"a")
    account.s3.put_object(Bucket=bucket, Key="out/a", Body=b"a")
    person = Person(account, statement("Allow", "s3:Get*", f"arn:aws:s3:::{bucket}/in/*"))
    s3 = person.client("s3")
    s3.get_object(Bucket=bucket, Key="in/a")
    denied(lambda: s3.get_object(Bucket=bucket, Key="out/a"))
    denied(lambda: s3.put_object(Bucket=bucket, Key="in/b", Body=b""))
    person.put(statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/${{aws:username}}/*"))
    denied(lambda: s3.get_object(Bucket=bucket, Key="in/a"))
    account.s3.put_object(Bucket=bucket, Key=f"{person.name}/a", Body=b"mine")
    assert s3.get_object(Bucket=bucket, Key=f"{person.name}/a")["Body"].read() == b"mine"
    here = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    person.put(statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*", Condition=here))
    s3.get_object(Bucket=bucket, Key="in/a")
    person.put(statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*",
                         Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))
    denied(lambda: s3.get_object(Bucket=bucket, Key="in/a"))
    person.put(statement("Allow", "s3:GetObject", f"arn:aws:s3:::{bucket}/*",
                         Condition={"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}))
    s3.get_object(Bucket=bucket, Key="in/a")


def test_a_boundary_caps_what_a_user_may(account):
    boundary = account.iam.create_policy(PolicyName=f"{account.name}-b", PolicyDocument=allow("codebuild:*"))["Policy"]["Arn"]
    person = Person(account, statement("Allow", "*"), PermissionsBoundary=boundary)
    person.client("codebuild").list_projects()
    assert "boundary" in denied(person.client("codepipeline").list_pipelines)
    denied(lambda: person.client("iam").delete_user_permissions_boundary(UserName=person.name))
    account.iam.delete_user_permissions_boundary(UserName=person.name)
    person.client("codepipeline").list_pipelines()
    account.iam.put_user_permissions_boundary(UserName=person.name, PermissionsBoundary=boundary)
    denied(person.client("codepipeline").list_pipelines)


# ---- roles -----------------------------------------------------------------------------------------


def assume(account, client, arn, **more):
    keys = client.assume_role(RoleArn=arn, RoleSessionName="here", **more)["Credentials"]
    pair = keys["AccessKeyId"], keys["SecretAccessKey"]
    return lambda service, **config: account.server.client(service, keys=pair, token=keys["SessionToken"], **config)


def test_a_user_assumes_a_role_and_is_it(account):
    bucket = account.bucket()
    person = Person(account, statement("Allow", "sts:AssumeRole"))
    name, arn = trusting(account, {"AWS": person.arn})
    account.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allow("s3:PutObject", "s3:GetObject"))
    as_role = assume(account, person.client("sts"), arn)
    who = as_role("sts").get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::000000000000:assumed-role/{name}/here"
    as_role("s3").put_object(Bucket=bucket, Key="k", Body=b"by the role")
    assert as_role("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"by the role"
    denied(as_role("s3").list_buckets)
    denied(lambda: person.client("s3").get_object(Bucket=bucket, Key="k"))
    for version in ("s3", "s3v4"):
        url = as_role("s3", signature_version=version).generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": "k", "ResponseContentType": "text/x"})
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"by the role" and answer.headers["Content-Type"] == "text/x"
        elsewhere = as_role("s3", signature_version=version).generate_presigned_url("list_buckets")
        for spoilt in (url.replace("/k?", "/other?"), elsewhere, url[:-6] + "AAAAAA"):
            with pytest.raises(urllib.error.HTTPError) as late:
                urllib.request.urlopen(spoilt)
            assert late.value.code in (400, 403)
    account.iam.delete_role_policy(RoleName=name, PolicyName="p")
    denied(lambda: as_role("s3").get_object(Bucket=bucket, Key="k"))


def test_a_session_policy_only_takes_away(account):
    person = Person(account, statement("Allow", "sts:AssumeRole"))
    name, arn = trusting(account, {"AWS": person.arn})
    account.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allow("codebuild:List*"))
    narrowed = assume(account, person.client("sts"), arn, Policy=allow("codebuild:ListBuilds", "codepipeline:*"))
    narrowed("codebuild").list_builds()
    denied(narrowed("codebuild").list_projects)
    denied(narrowed("codepipeline").list_pipelines)


def test_trust_decides_who_may_assume(account):
    person = Person(account, statement("Allow", "sts:AssumeRole"))
    stranger = Person(account, statement("Allow", "*"))
    _, arn = trusting(account, {"AWS": person.arn})
    assume(account, person.client("sts"), arn)
    denied(lambda: assume(account, stranger.client("sts"), arn))
    _, for_service = trusting(account, {"Service": "codebuild.amazonaws.com"})
    denied(lambda: assume(account, stranger.client("sts"), for_service))
    denied(lambda: assume(account, stranger.client("sts"), arn + "-absent"))
    unlucky = Person(account)
    _, whole = trusting(account, {"AWS": "arn:aws:iam::000000000000:root"})
    denied(lambda: assume(account, unlucky.client("sts"), whole))
    assume(account, person.client("sts"), whole)
    _, secret = trusting(account, {"AWS": person.arn}, Condition={"StringEquals": {"sts:ExternalId": "42"}})
    denied(lambda: assume(account, person.client("sts"), secret))
    denied(lambda: assume(account, person.client("sts"), secret, ExternalId="41"))
    assume(account, person.client("sts"), secret, ExternalId="42")


def test_the_same_name_is_not_the_same_user(account):
    """A trust policy holds the user's id: who is made later under the name gets nothing."""
    person = Person(account)
    _, arn = trusting(account, {"AWS": person.arn})
    assume(account, person.client("sts"), arn)
    account.iam.delete_access_key(UserName=person.name, AccessKeyId=person.keys[0])
    account.iam.delete_user(UserName=person.name)
    account.iam.create_user(UserName=person.name)
    made = account.iam.create_access_key(UserName=person.name)["AccessKey"]
    again = account.server.client("sts", keys=(made["AccessKeyId"], made["SecretAccessKey"]))
    denied(lambda: assume(account, again, arn))


def test_a_role_that_is_gone_ends_its_sessions(account):
    person = Person(account, statement("Allow", "sts:AssumeRole"))
    name, arn = trusting(account, {"AWS": person.arn})
    account.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allow("codebuild:List*"))
    as_role = assume(account, person.client("sts"), arn)
    as_role("codebuild").list_builds()
    refused(lambda: account.iam.delete_role(RoleName=name), "DeleteConflict")
    account.iam.delete_role_policy(RoleName=name, PolicyName="p")
    account.iam.delete_role(RoleName=name)
    with pytest.raises(ClientError):
        as_role("codebuild").list_builds()


# ---- PassRole --------------------------------------------------------------------------------------


@pytest.fixture
def builder(account):
    """May do everything in the developer tools, and pass no role."""
    return Person(account, statement("Allow", ["codepipeline:*", "codebuild:*", "codedeploy:*", "s3:*"]))


def test_a_role_is_passed_only_with_permission(account, builder):
    roles = {name: account.role(name) for name in ("codebuild", "codepipeline", "codedeploy")}
    bucket, name = account.bucket(), account.name
    deploy = builder.client("codedeploy")
    deploy.create_application(applicationName=name)
    pipeline = {
        "name": name, "roleArn": roles["codepipeline"], "artifactStore": {"type": "S3", "location": bucket},
        "stages": [{"name": "S", "actions": [action("S", "Source", "S3", {
            "S3Bucket": bucket, "S3ObjectKey": "k.zip", "PollForSourceChanges": "false"}, outputs=["o"])]},
                   {"name": "A", "actions": [action("A", "Approval", "Manual")]}]}
    calls = {
        "codebuild": lambda: builder.client("codebuild").create_project(
            name=name, serviceRole=roles["codebuild"], source={"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {}"},
            artifacts={"type": "NO_ARTIFACTS"}, environment={
                "type": "LINUX_CONTAINER", "image": "aws/codebuild/standard:7.0", "computeType": "BUILD_GENERAL1_SMALL"}),
        "codepipeline": lambda: builder.client("codepipeline").create_pipeline(pipeline=pipeline),
        "codedeploy": lambda: deploy.create_deployment_group(
            applicationName=name, deploymentGroupName="g", serviceRoleArn=roles["codedeploy"]),
    }
    for call in calls.values():
        assert "iam:PassRole" in denied(call)
    assert account.codebuild.batch_get_projects(names=[name])["projectsNotFound"] == [name]
    assert deploy.list_deployment_groups(applicationName=name)["deploymentGroups"] == []
    allowed = ["codepipeline:*", "codebuild:*", "codedeploy:*", "s3:*"]
    # Each role may go to its own service alone.
    for service, call in calls.items():
        others = [f"{one}.amazonaws.com" for one in calls if one != service]
        builder.put(statement("Allow", allowed), statement("Allow", "iam:PassRole", roles[service], Condition={
            "StringEquals": {"iam:PassedToService": others}}))
        denied(call)
        builder.put(statement("Allow", allowed), statement("Allow", "iam:PassRole", roles[service], Condition={
            "StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}}))
        call()
    builder.put(statement("Allow", allowed))
    denied(lambda: builder.client("codebuild").update_project(name=name, serviceRole=account.role("codebuild")))
    denied(lambda: deploy.update_deployment_group(
        applicationName=name, currentDeploymentGroupName="g", serviceRoleArn=account.role("codedeploy")))
    denied(lambda: builder.client("codepipeline").update_pipeline(
        pipeline=pipeline | {"roleArn": account.role("codepipeline")}))


def test_a_service_gets_a_role_only_if_the_role_trusts_it(account):
    wrong = account.role("codedeploy")
    with pytest.raises(ClientError) as refusal:
        account.project(buildspec="version: 0.2\nphases: {build: {commands: ['true']}}", role=wrong)
        raise AssertionError("taken")
    assert "trust" in refusal.value.response["Error"]["Message"].lower() or "assum" in refusal.value.response["Error"]["Message"].lower()


def test_service_specific_credentials(account):
    person = Person(account)
    iam, service = account.iam, "codecommit.amazonaws.com"
    made = iam.create_service_specific_credential(UserName=person.name, ServiceName=service)["ServiceSpecificCredential"]
    assert made["ServiceUserName"].startswith(f"{person.name}-at-") and made["ServicePassword"]
    iam.create_service_specific_credential(UserName=person.name, ServiceName=service)
    refused(lambda: iam.create_service_specific_credential(UserName=person.name, ServiceName=service), "LimitExceeded")
    listed = iam.list_service_specific_credentials(UserName=person.name)["ServiceSpecificCredentials"]
    assert len(listed) == 2 and all("ServicePassword" not in one for one in listed)
    again = iam.reset_service_specific_credential(
        UserName=person.name, ServiceSpecificCredentialId=made["ServiceSpecificCredentialId"])["ServiceSpecificCredential"]
    assert again["ServicePassword"] != made["ServicePassword"]
    refused(lambda: iam.create_service_specific_credential(UserName=person.name, ServiceName="x.amazonaws.com"),
            "ValidationError", "NoSuchEntity", "ServiceNotSupported", "NotSupportedService", "NotImplemented")
