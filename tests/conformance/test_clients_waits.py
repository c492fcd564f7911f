"""Every waiter of our services, and the SDKs' retries: what a client does when an answer is late, an error, or lost."""

import json
import threading

import pytest
from accounts import action, zipped
from botocore.config import Config
from botocore.exceptions import WaiterError
from sdk.clients.boto import Boto
from sdk.clients.js import Js
from sdk.faulty import FAULTS, FaultyProxy


@pytest.fixture(scope="module")
def boto(shared_server):
    return Boto(shared_server)


@pytest.fixture(scope="module")
def js(shared_server):
    made = Js(shared_server)
    yield made
    made.stop()


# ---- waiters -----------------------------------------------------------------------------------------


def test_every_waiter_is_driven(boto):
    """InstanceProfileExists is of operations that are not there."""
    found = {(service, name) for service in ("iam", "sts", "s3", "codecommit", "codebuild", "codepipeline", "codedeploy", "logs")
             for name in waiters_of(boto, service)}
    driven = {(service, name) for service, name, *_ in WAITERS} | {("codedeploy", "DeploymentSuccessful")}
    assert found - {("iam", "InstanceProfileExists")} == driven


def waiters_of(boto, service):
    return [name.title().replace("_", "") for name in boto.client(service).waiter_names]


DOCUMENT = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
WAITERS = [
    ("iam", "UserExists", {"UserName": "NAME"}, lambda a, n: a.iam.create_user(UserName=n)),
    ("iam", "RoleExists", {"RoleName": "NAME"}, lambda a, n: a.iam.create_role(RoleName=n, AssumeRolePolicyDocument=TRUST)),
    ("iam", "PolicyExists", {"PolicyArn": "arn:aws:iam::000000000000:policy/NAME"},
     lambda a, n: a.iam.create_policy(PolicyName=n, PolicyDocument=DOCUMENT)),
    ("s3", "BucketExists", {"Bucket": "NAME"}, lambda a, n: a.s3.create_bucket(Bucket=n)),
    ("s3", "BucketNotExists", {"Bucket": "NAME"}, lambda a, n: a.s3.delete_bucket(Bucket=n)),
    ("s3", "ObjectExists", {"Bucket": "NAME-objects", "Key": "k"}, lambda a, n: a.s3.put_object(Bucket=f"{n}-objects", Key="k", Body=b"x")),
    ("s3", "ObjectNotExists", {"Bucket": "NAME-objects", "Key": "k"}, lambda a, n: a.s3.delete_object(Bucket=f"{n}-objects", Key="k")),
]


def before(account, waiter, name):
    """What must be there before the waiter begins."""
    if waiter.startswith("Object"):
        account.s3.create_bucket(Bucket=f"{name}-objects")
    if waiter == "BucketNotExists":
        account.s3.create_bucket(Bucket=name)
    if waiter == "ObjectNotExists":
        account.s3.put_object(Bucket=f"{name}-objects", Key="k", Body=b"x")


@pytest.mark.parametrize("kind", ["botocore", "js"])
@pytest.mark.parametrize(("service", "waiter", "parameters", "make"), WAITERS, ids=[one[1] for one in WAITERS])
def test_a_waiter_waits_until_it_is_so(account, boto, js, kind, service, waiter, parameters, make):
    name = account.name
    parameters = {key: value.replace("NAME", name) for key, value in parameters.items()}
    before(account, waiter, name)
    if kind == "botocore":
        client = boto.client(service)
        snake = next(one for one in client.waiter_names if one.title().replace("_", "") == waiter)
        config = {"Delay": 0.1, "MaxAttempts": 600}
        with pytest.raises(WaiterError, match="Max attempts exceeded"):
            client.get_waiter(snake).wait(**parameters, WaiterConfig={"Delay": 0.01, "MaxAttempts": 2})
        waiting = lambda: client.get_waiter(snake).wait(**parameters, WaiterConfig=config)
    else:
        waiting = lambda: js.call(service, "", parameters, waiter=waiter)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(waiting()))
    thread.start()
    make(account, name)
    thread.join(timeout=100)
    assert ended in ([None], [{"state": "SUCCESS"}])


@pytest.mark.parametrize("kind", ["botocore", "js"])
def test_the_waiter_for_a_deployment(account, boto, js, kind):
    """A deployment to nobody fails, and the waiter says so at once; success is in the agents' scenario."""
    deploy, bucket = account.codedeploy, account.bucket()
    deploy.create_application(applicationName=account.name)
    deploy.create_deployment_group(applicationName=account.name, deploymentGroupName="g", serviceRoleArn=account.role("codedeploy"))
    account.s3.put_object(Bucket=bucket, Key="k", Body=zipped({"appspec.yml": "version: 0.0\nos: linux\n"}))
    made = {"deploymentId": deploy.create_deployment(applicationName=account.name, deploymentGroupName="g", revision={
        "revisionType": "S3", "s3Location": {"bucket": bucket, "key": "k", "bundleType": "zip"}})["deploymentId"]}
    if kind == "botocore":
        with pytest.raises(WaiterError, match="terminal failure state"):
            boto.client("codedeploy").get_waiter("deployment_successful").wait(**made, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    else:
        with pytest.raises(AssertionError, match="FAILURE|Failed"):
            js.call("codedeploy", "", made, waiter="DeploymentSuccessful")


# ---- retries -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxy(shared_server):
    made = FaultyProxy(shared_server.port)
    yield made
    made.stop()


def a_policy(account):
    name = account.name
    account.iam.create_user(UserName=name)
    return ("iam", "PutUserPolicy", {"UserName": name, "PolicyName": "p", "PolicyDocument": DOCUMENT},
            lambda: len(account.iam.list_user_policies(UserName=name)["PolicyNames"]))


def an_execution(account):
    """Without a token from the caller: the SDK makes one, and its retry bears the same."""
    source = action("Source", "Source", "S3", {"S3Bucket": account.bucket("s"), "S3ObjectKey": "k", "PollForSourceChanges": "false"}, outputs=["s"])
    name = account.pipeline([("Source", [source]), ("Ask", [action("Ask", "Approval", "Manual")])])
    executions = lambda: account.codepipeline.list_pipeline_executions(pipelineName=name)["pipelineExecutionSummaries"]
    started = lambda: sum(one["trigger"]["triggerType"] == "StartPipelineExecution" for one in executions())
    return "codepipeline", "StartPipelineExecution", {"name": name}, started


def an_object(account):
    bucket = account.bucket()
    return ("s3", "PutObject", {"Bucket": bucket, "Key": "k", "Body": b"content"},
            lambda: sum(one["Size"] == 7 for one in account.s3.list_object_versions(Bucket=bucket)["Versions"]))


CALLS = [("botocore", "query", a_policy), ("botocore", "json", an_execution), ("botocore", "cbor", an_execution),
         ("botocore", "s3", an_object), ("js", "query", a_policy), ("js", "json", an_execution), ("js", "s3", an_object)]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("kind", "protocol", "scene"), CALLS)
def test_what_is_retried_is_done_once(account, js, proxy, kind, protocol, scene, fault):
    """The first answer is an error or never comes, also when the server had done it: the SDK tries again, and
    there is one thing."""
    service, operation, parameters, count = scene(account)
    proxy.spoil(fault, protocol)
    if kind == "js":
        told = js.ask(service, operation, parameters, endpoint=proxy.url, attempts=4)
        assert told.get("attempts") == 2, told
    else:
        assert through_botocore(account.server, proxy, protocol, service, operation, parameters) == 1
    assert proxy.seen == [fault, "passed"]
    assert count() == 1


@pytest.mark.parametrize("hours", [-2, 2])
@pytest.mark.parametrize(("service", "operation"), [
    ("iam", "ListUsers"), ("sts", "GetCallerIdentity"), ("codepipeline", "ListPipelines"), ("logs", "DescribeLogGroups"),
    ("s3", "ListBuckets")])
def test_a_wrong_clock_is_set_right_by_the_answer(account, js, service, operation, hours):
    """The refusal's code says that it was the clock, and its Date by how much: the SDK signs anew and is answered."""
    told = js.ask(service, operation, {}, attempts=3, skewMs=hours * 3_600_000)
    assert "answer" in told and told["attempts"] == 2, told
    assert js.ask(service, operation, {}, attempts=3, skewMs=hours * 3_600_000)["attempts"] == 1, "it knows by now"


def through_botocore(server, proxy, protocol, service, operation, parameters):
    """Answers how often the call was retried."""
    session = Boto(server, protocol="smithy-rpc-v2-cbor" if protocol == "cbor" else None).session
    access, secret = server.root_keys()
    client = session.create_client(
        service, region_name="us-east-1", endpoint_url=proxy.url, aws_access_key_id=access, aws_secret_access_key=secret,
        config=Config(retries={"mode": "standard", "total_max_attempts": 4}, s3={"addressing_style": "path"}))
    told = client._make_api_call(operation, parameters)
    client.close()
    return told["ResponseMetadata"]["RetryAttempts"]
