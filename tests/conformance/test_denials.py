"""No operation without authorization: whoever has no policy gets AccessDenied from every operation, and changes nothing.

Driven by the manifest, so an operation that is added to it is tested here without a line being written, and by
botocore's own list of S3's operations.
"""

import json

import botocore.session
import pytest
import raw
from minimal import MANIFEST
from world import OPERATIONS, OWN_TEST, World

# Anybody who is signed in may ask who they are. The agents' service has a test of its own.
FREE = {("sts", "GetCallerIdentity"), ("sts", "GetSessionToken")}
DENIED = {"AccessDenied", "AccessDeniedException"}


# Well-formed names of what does not exist, where a name has a form.
ARN = "arn:aws:{}:us-east-1:000000000000:{}".format
REPORT_GROUP, REPORT = ARN("codebuild", "report-group/absent"), ARN("codebuild", "report/absent:" + "0" * 8)
ABSENT = {
    "iam": {"UserName": "absent", "PolicyArn": "arn:aws:iam::000000000000:policy/absent"},
    "sts": {"RoleArn": "arn:aws:iam::000000000000:role/absent"},
    "codecommit": {"repositoryName": "absent", "branchName": "absent", "commitId": "0" * 40,
                   "resourceArn": ARN("codecommit", "absent")},
    "codebuild": {"id": "absent:00000000-0000-4000-8000-000000000000", "reportGroupArns": REPORT_GROUP,
                  "reportGroupArn": REPORT_GROUP, "reportArns": REPORT, "reportArn": REPORT},
    "codepipeline": {},
    "codedeploy": {"applicationName": "absent", "newApplicationName": "other", "deploymentGroupName": "absent",
                   "deploymentId": "d-ABSENT000", "deploymentIds": "d-ABSENT000",
                   "ResourceArn": ARN("codedeploy", "application:absent")},
    "logs": {"logGroupName": "absent", "resourceArn": ARN("logs", "log-group:absent")},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Torn down only after what the denied calls left was compared with what was there before them."""
    made = World(tmp_path_factory.mktemp("denials"))
    before = made.snapshot()
    readable = [name for name, (code, _) in before.items() if code is None]
    assert len(readable) > 0.9 * len(before), {name: code for name, (code, _) in before.items() if code}
    yield made
    after = made.snapshot()
    made.server.stop()
    assert after == before


@pytest.mark.parametrize(("service", "operation"), OPERATIONS, ids=lambda word: word)
def test_without_a_policy_nothing_is_allowed(world, service, operation):
    exists, absent = world.known[service], ABSENT[service]
    if operation == "DeleteReport":
        exists, absent = exists | {"arn": exists["reportArn"]}, absent | {"arn": REPORT}
    if operation == "DeleteReportGroup":
        absent = absent | {"arn": REPORT_GROUP}
    for known in (exists, absent):
        code, answer = world.call(service, operation, known, world.nobody)
        if (service, operation) in FREE:
            assert code is None, answer
            continue
        assert code in DENIED, f"{'what exists' if known is exists else 'what is absent'}: {code} {answer}"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == (403 if service in ("iam", "sts") else 400)
        assert f"{service}:" in answer["Error"]["Message"], "the message names the action"


def test_the_manifest_is_the_models_list(world):
    """What the manifest leaves out is refused by name, allowed or not."""
    for service in MANIFEST:
        if service in OWN_TEST:
            continue
        client = world.client(service)
        model = client.meta.service_model
        signed = {name for name in model.operation_names if model.operation_model(name).auth_type != "none"}
        left_out = sorted(signed - set(MANIFEST[service]))
        for operation in left_out[:3]:
            code, answer = world.call(service, operation, {})
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501, (service, operation, answer)
            assert operation in answer["Error"]["Message"]


S3_OPERATIONS = botocore.session.get_session().get_service_model("s3").operation_names
# Their hosts or their bodies are of another kind; none is implemented.
S3_ELSEWHERE = {"CreateSession", "WriteGetObjectResponse", "ListDirectoryBuckets", "SelectObjectContent"}


@pytest.mark.parametrize("operation", sorted(set(S3_OPERATIONS) - S3_ELSEWHERE))
def test_without_a_policy_s3_gives_nothing(world, operation):
    known = {"Bucket": "revisions", "Key": "one.zip", "CopySource": "revisions/one.zip", "UploadId": "u"}
    code, answer = world.call("s3", operation, known, world.nobody)
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    if operation.startswith("Head"):
        assert status == 403
    elif operation == "DeleteObjects":
        assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"] and "Deleted" not in answer
    else:
        assert (code, status) in [("AccessDenied", 403), ("NotImplemented", 501)], answer


@pytest.mark.parametrize("operation", MANIFEST["codedeploycommand"])
def test_who_is_no_host_gets_no_command(world, operation):
    host = "arn:aws:iam::000000000000:user/ann"
    members = {
        "PollHostCommand": {"HostIdentifier": host},
        "GetDeploymentSpecification": {
            "HostIdentifier": host, "DeploymentExecutionId": f"000000000000/us-east-1/deployment/"
            f"{world.known['codedeploy']['deploymentId']}"},
    }.get(operation, {"HostCommandIdentifier": f"{world.known['codedeploy']['deploymentId']}.1.host",
                      "CommandStatus": "Succeeded"})
    answer = raw.call(world.server, "codedeploy-commands", raw.target(f"CodeDeployCommandService_v20141006.{operation}"),
                      json.dumps(members).encode(), keys=world.nobody)
    # An identifier that was never given out is nobody's.
    expected = "ClientException" if "HostCommandIdentifier" in members else "AccessDeniedException"
    assert answer.status == 400 and answer.json()["__type"].endswith(expected), answer
