"""An unmodified boto3 against the wire layer: what it sends must be understood, what it gets must parse.

Usage: wire.py http://127.0.0.1:PORT
"""

import datetime
import sys
import urllib.request

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = sys.argv[1]
CONFIG = Config(retries={"total_max_attempts": 1}, parameter_validation=False)


def client(service, key="AKIDALICE", secret="alices-secret", token=None, region="us-east-1", session=None):
    return (session or boto3).client(
        service,
        endpoint_url=ENDPOINT,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=CONFIG,
    )


def expect(code, status, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        found = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert found == (code, status), error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        return error.response
    raise AssertionError(f"{code} was expected")


def query():
    iam = client("iam")
    user = iam.create_user(
        UserName="bob", Path="/a/", Tags=[{"Key": "team", "Value": "a = über/1 + b"}, {"Key": "x", "Value": ""}]
    )["User"]
    assert user["UserName"] == "bob" and user["Path"] == "/a/", user
    assert user["Tags"] == [{"Key": "team", "Value": "a = über/1 + b"}, {"Key": "x", "Value": ""}], user
    assert user["CreateDate"] == datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.timezone.utc), user
    assert iam.list_users()["Users"] == []
    assert iam.delete_user(UserName="bob")["ResponseMetadata"]["HTTPStatusCode"] == 200
    document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=document)["Role"]
    assert role["AssumeRolePolicyDocument"]["Version"] == "2012-10-17", role
    expect("EntityAlreadyExists", 409, iam.create_group, GroupName="g")
    response = expect("ValidationError", 400, iam.create_user, UserName="a" * 65, Path=f"/{'a' * 512}/")
    assert response["Error"]["Message"].startswith("2 validation errors detected: Value '"), response
    expect("NotImplemented", 501, iam.create_virtual_mfa_device, VirtualMFADeviceName="m")

    sts = client("sts", key="ASIAALICE", token="alices-token")
    identity = sts.get_caller_identity()
    assert identity["Arn"] == "arn:aws:iam::000000000000:user/alice", identity
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    with urllib.request.urlopen(url) as answer:
        assert b"user/alice" in answer.read()
    expect("ExpiredToken", 400, client("sts", key="ASIAALICE", token="old").get_caller_identity)
    expect("InvalidClientTokenId", 403, client("sts", key="AKIDNOBODY").get_caller_identity)
    expect("SignatureDoesNotMatch", 403, client("sts", secret="wrong").get_caller_identity)


def over_cbor():
    """A session whose CodePipeline speaks CBOR: botocore has the codec, and prefers JSON."""
    session = botocore.session.get_session()
    loader = session.get_component("data_loader")
    load = loader.load_service_model

    def patched(service_name, type_name, *arguments, **named):
        model = load(service_name, type_name, *arguments, **named)
        if service_name == "codepipeline" and type_name == "service-2":
            model["metadata"]["protocols"] = ["smithy-rpc-v2-cbor"]
            model["metadata"]["protocol"] = "smithy-rpc-v2-cbor"
        return model

    loader.load_service_model = patched
    return boto3.Session(botocore_session=session)


def pipelines(codepipeline):
    pipeline = {
        "name": "p",
        "roleArn": "arn:aws:iam::000000000000:role/r",
        "artifactStore": {"type": "S3", "location": "bucket"},
        "version": 3,
        "stages": [
            {
                "name": "Source",
                "actions": [
                    {
                        "name": "A",
                        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"},
                        "configuration": {"S3Bucket": "b", "S3ObjectKey": "ключ \u2028 \U0001f680"},
                        "runOrder": 1,
                    }
                ],
            },
        ],
    }
    echoed = codepipeline.create_pipeline(pipeline=pipeline)["pipeline"]
    assert echoed == pipeline, echoed
    state = codepipeline.get_pipeline_state(name="p")
    assert state["created"].timestamp() == 1700000000.123, state
    assert state["pipelineVersion"] == 7 and state["stageStates"] == [], state
    response = expect(
        "ValidationException",
        400,
        codepipeline.create_pipeline,
        pipeline={**pipeline, "name": "a b", "stages": [{"name": "x/y", "actions": []}]},
    )
    message = response["Error"]["Message"]
    assert "at 'pipeline.name'" in message and "at 'pipeline.stages.1.member.name'" in message, message
    expect("PipelineNotFoundException", 400, codepipeline.get_pipeline, name="missing")
    expect("NotImplemented", 501, codepipeline.list_webhooks)


def json():
    expect("UnrecognizedClientException", 400, client("codepipeline", key="AKIDNOBODY").get_pipeline, name="p")
    expect("InvalidSignatureException", 400, client("codepipeline", secret="wrong").get_pipeline, name="p")
    expect("InvalidSignatureException", 400, client("codepipeline", region="eu-west-1").get_pipeline, name="p")
    expect("NotImplemented", 501, client("ssm").get_parameter, Name="x")

    codecommit = client("codecommit")
    content = bytes(range(256)) * 20_000
    stored = codecommit.put_file(repositoryName="r", branchName="main", fileContent=content, filePath="f")
    assert stored["blobId"] == str(len(content)), stored
    blob = codecommit.get_blob(repositoryName="r", blobId="b" * 40)
    assert blob["content"] == bytes(range(256)), blob

    logs = client("logs")
    events = [{"timestamp": 1700000000000 + n, "message": f"line {n}\n"} for n in range(5000)]
    assert logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=events)["nextSequenceToken"] == "5000"


def unknown():
    lambda_ = client("lambda")
    expect("NotImplemented", 501, lambda_.get_function, FunctionName="arn:aws:lambda:us-east-1:000000000000:function:f")
    expect("NotImplemented", 501, client("sns").list_topics)


query()
pipelines(client("codepipeline"))
cbor = client("codepipeline", session=over_cbor())
assert cbor.meta.service_model.resolved_protocol == "smithy-rpc-v2-cbor"
pipelines(cbor)
json()
unknown()
print("ok")
