"""One question in every protocol that a model lists: the same answer, to the millisecond."""

import struct

import pytest
import raw
from accounts import action, zipped
from sdk.clients.boto import Boto
from server import wait_for

CBOR = "smithy-rpc-v2-cbor"


@pytest.fixture(scope="module")
def speakers(shared_server):
    return {"json 1.1": Boto(shared_server), "json 1.0": Boto(shared_server, protocol="json", json_version="1.0"),
            "cbor": Boto(shared_server, protocol=CBOR)}


@pytest.fixture
def deployments(account):
    """Several, so that some of their times have no exact double."""
    deploy, bucket = account.codedeploy, account.bucket("revisions")
    deploy.create_application(applicationName=account.name)
    role = account.role("codedeploy")
    account.s3.put_object(Bucket=bucket, Key="k", Body=zipped({"appspec.yml": "version: 0.0\nos: linux\n"}))
    revision = {"revisionType": "S3", "s3Location": {"bucket": bucket, "key": "k", "bundleType": "zip"}}
    made = []
    for number in range(8):
        deploy.create_deployment_group(applicationName=account.name, deploymentGroupName=f"g{number}", serviceRoleArn=role)
        made.append(deploy.create_deployment(applicationName=account.name, deploymentGroupName=f"g{number}",
                                             revision=revision)["deploymentId"])
    ended = lambda one: deploy.get_deployment(deploymentId=one)["deploymentInfo"]["status"] == "Failed"
    wait_for(lambda: all(ended(one) for one in made), "the deployments to nobody end")
    return made


def test_the_same_answer_in_every_protocol(account, speakers, deployments):
    name, source = account.name, action("Source", "Source", "S3", {
        "S3Bucket": account.bucket("s"), "S3ObjectKey": "k", "PollForSourceChanges": "false"}, outputs=["s"])
    pipe = account.pipeline([("Source", [source]), ("Ask", [action("Ask", "Approval", "Manual")])])
    over = lambda: all(one["status"] == "Failed" for one in account.codepipeline.list_pipeline_executions(
        pipelineName=pipe)["pipelineExecutionSummaries"] or [{"status": ""}])
    wait_for(over, "the pipeline's first execution, which has no source, fails")
    project = account.project("version: 0.2\nphases: {build: {commands: ['true']}}")
    build = account.codebuild.start_build(projectName=project)["build"]["id"]
    wait_for(lambda: account.codebuild.batch_get_builds(ids=[build])["builds"][0]["buildComplete"], "the build ends")
    for service, operation, parameters in [
            ("codebuild", "BatchGetBuilds", {"ids": [build]}), ("codebuild", "BatchGetProjects", {"names": [project]}),
            ("codepipeline", "GetPipeline", {"name": pipe}), ("codepipeline", "GetPipelineState", {"name": pipe}),
            ("codepipeline", "ListPipelineExecutions", {"pipelineName": pipe}),
            ("codepipeline", "ListActionExecutions", {"pipelineName": pipe}), ("codepipeline", "ListActionTypes", {}),
            ("codedeploy", "GetApplication", {"applicationName": name}),
            ("codedeploy", "GetDeploymentGroup", {"applicationName": name, "deploymentGroupName": "g0"}),
            ("codedeploy", "BatchGetDeployments", {"deploymentIds": deployments})]:
        answers = {kind: speaker.call(service, operation, parameters) for kind, speaker in speakers.items()}
        assert answers["json 1.1"] == answers["json 1.0"] == answers["cbor"], (service, operation)


def test_a_time_that_is_sent_means_its_millisecond(speakers, deployments):
    """Found by exactly its own creation time, though a double of most milliseconds is a little less or more."""
    for kind, speaker in speakers.items():
        for deployment in deployments:
            at = speaker.call("codedeploy", "GetDeployment", {"deploymentId": deployment})["deploymentInfo"]["createTime"]
            found = speaker.call("codedeploy", "ListDeployments", {"createTimeRange": {"start": at, "end": at}})
            assert deployment in found["deployments"], (kind, at)


def test_times_in_cbor_are_tagged_numbers(shared_server, deployments):
    """Tag 1 and a double, or an integer where the millisecond is a whole second."""
    for deployment in deployments:
        headers = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor", "Accept": "application/cbor"}
        body = b"\xa1" + b"\x6cdeploymentId" + bytes([0x60 + len(deployment)]) + deployment.encode()
        path = "/service/CodeDeploy_20141006/operation/GetDeployment"
        answer = raw.call(shared_server, "codedeploy", headers, body, path=path)
        assert answer.status == 200 and answer.headers["smithy-protocol"] == "rpc-v2-cbor", answer
        after = answer.body.split(b"\x6acreateTime", 1)[1]
        assert after[0] == 0xC1
        if after[1] == 0xFB:
            seconds = struct.unpack(">d", after[2:10])[0]
            assert seconds == round(seconds, 3), "the nearest double of a millisecond"
        else:
            assert after[1] == 0x1A, "an unsigned integer of four bytes"
