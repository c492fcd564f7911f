"""What every request goes through before a service sees it: AWS's codes, per protocol, for all that can be wrong."""

import zlib

import botocore.parsers
import botocore.serialize
import botocore.session
import pytest
import raw
from botocore.exceptions import ClientError, HTTPClientError

MODELS = {name: botocore.session.get_session().get_service_model(name) for name in ("codepipeline", "codebuild", "codedeploy")}


def json_request(operation="ListPipelines", body=b"{}", prefix="CodePipeline_20150709"):
    return "codepipeline", raw.target(f"{prefix}.{operation}"), body, "/"


def query_request(operation="ListUsers", body=None, version="2010-05-08"):
    body = body or f"Action={operation}&Version={version}".encode()
    return "iam", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body, "/"


def cbor_request(operation="ListPipelines", body=b"\xa0", service="CodePipeline_20150709"):
    headers = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor", "Accept": "application/cbor"}
    return "codepipeline", headers, body, f"/service/{service}/operation/{operation}"


PROTOCOLS = {"json": json_request, "query": query_request, "cbor": cbor_request}


def code_of(answer):
    """The error code, wherever the protocol has it."""
    kind = answer.headers.get("content-type", "")
    if "xml" in kind:
        return answer.text.split("<Code>", 1)[1].split("</Code>", 1)[0]
    if "cbor" in kind:
        assert answer.headers["smithy-protocol"] == "rpc-v2-cbor"
        parser = botocore.parsers.create_parser("smithy-rpc-v2-cbor")
        shape = MODELS["codepipeline"].operation_model("ListPipelines").output_shape
        told = parser.parse({"body": answer.body, "headers": answer.headers, "status_code": answer.status}, shape)
        return told["Error"]["Code"]
    return answer.json()["__type"].split("#")[-1]


def ask(server, request, service=None, change=None, **options):
    """Signs, lets `change` spoil the headers, sends."""
    signing, headers, body, path = request
    headers = raw.signed(server, service or signing, headers, body, path=path, **options)
    if change:
        change(headers)
    answer = raw.send(server, "POST", path, headers, body)
    assert answer.headers.get("x-amzn-requestid"), answer
    return answer.status, code_of(answer) if answer.status >= 400 else None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_good_request_is_answered(shared_server, protocol):
    assert ask(shared_server, PROTOCOLS[protocol]()) == (200, None)


def spoil(name, old, new):
    def change(headers):
        assert old in headers[name]
        headers[name] = headers[name].replace(old, new)
    return change


@pytest.mark.parametrize(("protocol", "status", "code"), [
    ("json", 400, "InvalidSignatureException"), ("query", 403, "SignatureDoesNotMatch"),
    ("cbor", 400, "InvalidSignatureException")])
def test_a_wrong_signature(shared_server, protocol, status, code):
    access, secret = shared_server.root_keys()
    request = PROTOCOLS[protocol]()
    assert ask(shared_server, request, keys=(access, secret + "x")) == (status, code)
    other_body = (*request[:2], request[2] + b" ", request[3])
    signed = raw.signed(shared_server, request[0], request[1], request[2], path=request[3])
    answer = raw.send(shared_server, "POST", request[3], signed, other_body[2])
    assert (answer.status, code_of(answer)) == (status, code), "the body is signed too"
    assert secret not in answer.text


@pytest.mark.parametrize(("protocol", "status", "code"), [
    ("json", 400, "UnrecognizedClientException"), ("query", 403, "InvalidClientTokenId"),
    ("cbor", 400, "UnrecognizedClientException")])
def test_an_unknown_key(shared_server, protocol, status, code):
    assert ask(shared_server, PROTOCOLS[protocol](), keys=("AKIAABSENT0000000000", "x")) == (status, code)


@pytest.mark.parametrize(("protocol", "status", "code"), [
    ("json", 400, "InvalidSignatureException"), ("query", 403, "SignatureDoesNotMatch"),
    ("cbor", 400, "InvalidSignatureException")])
@pytest.mark.parametrize("skew_hours", [-1, 1])
def test_a_clock_that_is_wrong(shared_server, protocol, status, code, skew_hours):
    assert ask(shared_server, PROTOCOLS[protocol](), at=raw.hours(skew_hours)) == (status, code)


@pytest.mark.parametrize(("protocol", "status", "code"), [
    ("json", 400, "MissingAuthenticationTokenException"), ("query", 403, "MissingAuthenticationToken"),
    ("cbor", 400, "MissingAuthenticationTokenException")])
def test_nobody_comes_in_unsigned(shared_server, protocol, status, code):
    _, headers, body, path = PROTOCOLS[protocol]()
    if protocol == "query":  # nothing but a signature tells IAM's requests from another service's
        assert raw.send(shared_server, "POST", path, headers, body).status in (403, 501)
        return
    answer = raw.send(shared_server, "POST", path, headers, body)
    assert (answer.status, code_of(answer)) == (status, code)


@pytest.mark.parametrize("protocol", ["json", "cbor"])
def test_a_signature_for_elsewhere(shared_server, protocol):
    request = PROTOCOLS[protocol]()
    assert ask(shared_server, request, region="eu-west-1") == (400, "InvalidSignatureException")
    assert ask(shared_server, request, service="codebuild") == (400, "InvalidSignatureException")


def test_a_signature_that_is_cut(shared_server):
    for spoilt in [spoil("Authorization", "Signature=", "Sign="), spoil("Authorization", "/aws4_request", ""),
                   spoil("Authorization", "SignedHeaders=", "Signed=")]:
        status, code = ask(shared_server, json_request(), change=spoilt)
        assert status in (400, 403) and code in ("IncompleteSignatureException", "InvalidSignatureException")


@pytest.mark.parametrize(("protocol", "operation", "status", "code"), [
    ("json", "NoSuchOperation", 400, "UnknownOperationException"),
    ("query", "NoSuchOperation", 400, "UnknownOperationException"),
    ("cbor", "NoSuchOperation", 400, "UnknownOperationException"),
    ("json", "ListWebhooks", 501, "NotImplemented"),
    ("query", "CreateSAMLProvider", 501, "NotImplemented"),
    ("cbor", "ListWebhooks", 501, "NotImplemented"),
])
def test_an_operation_that_is_not_there(shared_server, protocol, operation, status, code):
    found = ask(shared_server, PROTOCOLS[protocol](operation))
    if code == "UnknownOperationException":
        assert found[0] in (400, 404) and found[1] in (code, "InvalidAction")
    else:
        assert found == (status, code)


def test_a_refusal_names_the_operation(account):
    with pytest.raises(ClientError) as refused:
        account.codepipeline.list_webhooks()
    assert "codepipeline:ListWebhooks" in refused.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as refused:
        account.iam.create_saml_provider(SAMLMetadataDocument="x" * 1000, Name="n")
    assert "iam:CreateSAMLProvider" in refused.value.response["Error"]["Message"]


@pytest.mark.parametrize(("service", "call"), [
    ("ssm", lambda c: c.get_parameter(Name="n")), ("sqs", lambda c: c.list_queues()),
    ("ec2", lambda c: c.describe_instances()), ("lambda", lambda c: c.list_functions()),
    ("dynamodb", lambda c: c.list_tables()), ("sns", lambda c: c.list_topics()),
    ("cloudwatch", lambda c: c.list_metrics())])
def test_a_service_that_is_not_here_is_refused_by_name(account, service, call):
    client = account.server.client(service)
    with pytest.raises(ClientError) as refused:
        call(client)
    answer = refused.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501, answer
    assert "does not implement" in answer["Error"]["Message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": 1}{', b"\xff\xfe", b'{"name": 1}', b"[" * 100_000])
def test_json_that_is_none(shared_server, body):
    status, code = ask(shared_server, json_request("GetPipeline", body))
    assert status == 400 and code in ("SerializationException", "ValidationException")


@pytest.mark.parametrize("body", [b"\xff", b"\xbf\x64name", b"\x9f" * 100_000, b"\xa1\x64name\x01", b"\x5b" + b"\xff" * 8])
def test_cbor_that_is_none(shared_server, body):
    status, code = ask(shared_server, cbor_request("GetPipeline", body))
    assert status == 400 and code in ("SerializationException", "ValidationException")


@pytest.mark.parametrize("body", [
    b"Version=2010-05-08", b"Action=&Version=2010-05-08", b"Action=GetUser&Version=1999-01-01",
    b"Action=CreateUser&Version=2010-05-08", b"Action=CreateUser&Version=2010-05-08&UserName=%ff",
    b"Action=CreateUser&Version=2010-05-08&UserName=u&Tags.member.999999999.Key=k"])
def test_forms_that_are_none(shared_server, body):
    status, code = ask(shared_server, query_request(body=body))
    assert status in (400, 404) and code


def test_constraints_come_in_the_models_words(account):
    for call in [lambda: account.codepipeline.get_pipeline(name="x" * 101),
                 lambda: account.logs.create_log_group(logGroupName="a b"),
                 lambda: account.codepipeline.get_pipeline(name="not a name")]:
        with pytest.raises(ClientError) as refused:
            call()
        error = refused.value.response["Error"]
        assert error["Code"] in ("ValidationException", "InvalidParameterException")
        assert "1 validation error detected: Value" in error["Message"]
        assert "failed to satisfy constraint" in error["Message"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_body_beyond_the_limit_is_refused(shared_server, protocol):
    huge = {"json": lambda: json_request("ListPipelines", b" " * (11 << 20)),
            "query": lambda: query_request(body=b"Action=ListUsers&Version=2010-05-08&x=" + b"x" * (11 << 20)),
            "cbor": lambda: cbor_request("ListPipelines", b"\xa0" * (11 << 20))}[protocol]()
    status, code = ask(shared_server, huge)
    assert status == 413 and code.startswith("RequestEntityTooLarge")


def test_a_body_beyond_the_limit_is_an_error_that_boto3_understands(account):
    with pytest.raises((ClientError, HTTPClientError)) as refused:
        account.codecommit.put_file(repositoryName="r", branchName="main", filePath="f", fileContent=b"x" * (12 << 20))
    assert isinstance(refused.value, ClientError), refused.value
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


@pytest.mark.parametrize("service", ["codepipeline", "codebuild", "codedeploy"])
def test_cbor_says_what_json_says(account, service):
    """botocore's own CBOR codec, for every reading operation that needs no parameter."""
    model = MODELS[service]
    serializer = botocore.serialize.create_serializer("smithy-rpc-v2-cbor", include_validation=True)
    parser = botocore.parsers.create_parser("smithy-rpc-v2-cbor")
    client = account.server.client(service)
    asked = 0
    for name in ["ListPipelines", "ListActionTypes", "ListProjects", "ListBuilds", "ListApplications",
                 "ListDeploymentConfigs", "ListOnPremisesInstances"]:
        if name not in model.operation_names:
            continue
        operation = model.operation_model(name)
        request = serializer.serialize_to_request({}, operation)
        path, body = request["url_path"], request["body"] or b""
        headers = {key: value.decode() if isinstance(value, bytes) else value for key, value in request["headers"].items()}
        answer = raw.call(account.server, model.signing_name, headers, body, path=path)
        assert answer.status == 200, answer
        told = parser.parse({"body": answer.body, "headers": answer.headers, "status_code": 200}, operation.output_shape)
        plain = client._make_api_call(name, {})
        told.pop("ResponseMetadata"), plain.pop("ResponseMetadata")
        assert told == plain
        asked += 1
    assert asked >= 2


def test_dates_and_checksums(shared_server):
    answer = raw.call(shared_server, "codepipeline", *json_request()[1:3])
    assert "date" in answer.headers and answer.headers["content-type"] == "application/x-amz-json-1.1"
    if "x-amz-crc32" in answer.headers:
        assert int(answer.headers["x-amz-crc32"]) == zlib.crc32(answer.body)


def test_health_needs_no_key(shared_server):
    answer = raw.send(shared_server, "GET", "/_towpath/health", {})
    assert answer.status == 200
    for path in ("/_towpath/", "/_towpath/nothing", "/_towpath/../identity"):
        assert raw.send(shared_server, "GET", path, {}).status in (403, 404)


def test_sts_in_a_query_string(shared_server):
    """A presigned GetCallerIdentity, as EKS and Vault use it for proof of identity."""
    client = shared_server.client("sts")
    url = client.generate_presigned_url("get_caller_identity", HttpMethod="GET")
    answer = raw.send(shared_server, "GET", url.removeprefix(shared_server.url), {})
    assert answer.status == 200 and ":root</Arn>" in answer.text, answer
    late = client.generate_presigned_url("get_caller_identity", HttpMethod="GET", ExpiresIn=1)
    spoilt = late.removeprefix(shared_server.url).replace("X-Amz-Expires=1", "X-Amz-Expires=60")
    assert raw.send(shared_server, "GET", spoilt, {}).status == 403


def test_temporary_keys_need_their_token(account):
    sts = account.server.client("sts")
    keys = sts.get_session_token()["Credentials"]
    pair = (keys["AccessKeyId"], keys["SecretAccessKey"])
    good = account.server.client("codepipeline", keys=pair, token=keys["SessionToken"])
    good.list_pipelines()
    for token in (None, keys["SessionToken"][:-4] + "AAAA", "x"):
        with pytest.raises(ClientError) as refused:
            account.server.client("codepipeline", keys=pair, token=token).list_pipelines()
        assert refused.value.response["Error"]["Code"] in (
            "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException")
