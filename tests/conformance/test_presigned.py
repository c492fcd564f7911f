"""Presigned URLs, Version 2 and 4, and clocks that are wrong: S3's codes and texts, and clients that recover."""

import datetime
import types
import urllib.parse
import urllib.request

import botocore.auth
import pytest
import urllib3
from botocore.exceptions import ClientError

VERSIONS = ["s3", "s3v4"]


@pytest.fixture
def stored(account):
    bucket = account.bucket("b")
    account.s3.put_object(Bucket=bucket, Key="a b+c/ä", Body=b"presigned")
    return {"Bucket": bucket, "Key": "a b+c/ä"}


def fetch(url, method="GET", data=None):
    """(status, body), by a client that adds no header of its own: Version 2 signs the content type."""
    answer = urllib3.PoolManager(timeout=60).urlopen(method, url, body=data, retries=False)
    return answer.status, answer.data


def code(answer):
    return answer[0], answer[1].decode().split("<Code>")[1].split("</Code>")[0]


def url_for(account, version, stored, operation="get_object", keys=None, token=None, expires=60, **params):
    client = account.server.client("s3", keys=keys, token=token, signature_version=version)
    return client.generate_presigned_url(operation, Params=stored | params, ExpiresIn=expires)


@pytest.fixture
def clock(monkeypatch):
    """Sets botocore's signers' clock: wrong by so many seconds."""
    def set_to(seconds):
        skew = datetime.timedelta(seconds=seconds)
        now = lambda: datetime.datetime.now(datetime.timezone.utc) + skew
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: now().replace(tzinfo=None))
        monkeypatch.setattr(botocore.auth, "time", types.SimpleNamespace(time=lambda: now().timestamp()))
    return set_to


@pytest.mark.parametrize("version", VERSIONS)
def test_reading_writing_and_deleting_by_url(account, stored, version):
    assert fetch(url_for(account, version, stored)) == (200, b"presigned")
    named = url_for(account, version, stored, ResponseContentType="text/x", ResponseContentDisposition="attachment")
    with urllib.request.urlopen(named, timeout=60) as answer:
        assert answer.headers["content-type"] == "text/x" and answer.headers["content-disposition"] == "attachment"
    new = stored | {"Key": "new"}
    assert fetch(url_for(account, version, new, "put_object"), "PUT", b"put")[0] == 200
    assert fetch(url_for(account, version, new)) == (200, b"put")
    assert fetch(url_for(account, version, new, "delete_object"), "DELETE")[0] == 204
    assert code(fetch(url_for(account, version, new))) == (404, "NoSuchKey")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_tampered_with_is_refused(account, stored, version):
    account.s3.put_object(Bucket=stored["Bucket"], Key="other", Body=b"secret")
    url = url_for(account, version, stored)
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query))

    def changed(path=None, **changes):
        return urllib.parse.urlunsplit(parts._replace(
            path=path or parts.path, query=urllib.parse.urlencode(query | changes)))

    expires = "Expires" if version == "s3" else "X-Amz-Expires"
    signature = "Signature" if version == "s3" else "X-Amz-Signature"
    for bad in [
        changed(path=f"/{stored['Bucket']}/other"),
        changed(**{expires: str(int(query[expires]) + 1)}),
        changed(**{signature: "0" * len(query[signature])}),
        changed(**{"response-content-type": "text/html"}),
        changed(versionId="null"),
    ]:
        assert code(fetch(bad)) == (403, "SignatureDoesNotMatch"), bad
    for method, data in (("PUT", b"x"), ("DELETE", None)):
        assert code(fetch(url, method, data)) == (403, "SignatureDoesNotMatch")
    key = "AWSAccessKeyId" if version == "s3" else "X-Amz-Credential"
    unknown = query[key].replace(query[key].split("/")[0], "AKIAUNKNOWNUNKNOWN00")
    assert code(fetch(changed(**{key: unknown}))) == (403, "InvalidAccessKeyId")
    without = {name: value for name, value in query.items() if name != signature}
    refused = fetch(urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(without))))
    assert refused[0] in (400, 403) and b"presigned" not in refused[1]
    assert account.s3.get_object(**stored)["Body"].read() == b"presigned"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_url_ends(account, stored, version, clock):
    clock(-120)
    late = url_for(account, version, stored, expires=60)
    good = url_for(account, version, stored, expires=600)
    answer = fetch(late)
    assert code(answer) == (403, "AccessDenied") and b"Request has expired" in answer[1], answer
    assert fetch(good)[0] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_a_replayed_url_outlives_neither_key_nor_permission(account, stored, version):
    keys = account.user("s3:*")
    user = account.iam.get_access_key_last_used(AccessKeyId=keys[0])["UserName"]
    url = url_for(account, version, stored, "put_object", keys=keys)
    assert [fetch(url, "PUT", b"mine")[0] for _ in range(2)] == [200, 200]
    account.iam.delete_user_policy(UserName=user, PolicyName="p")
    assert code(fetch(url, "PUT", b"late")) == (403, "AccessDenied")
    account.iam.update_access_key(UserName=user, AccessKeyId=keys[0], Status="Inactive")
    assert code(fetch(url, "PUT", b"late")) == (403, "InvalidAccessKeyId")
    account.iam.delete_access_key(UserName=user, AccessKeyId=keys[0])
    assert code(fetch(url, "PUT", b"late")) == (403, "InvalidAccessKeyId")
    assert account.s3.get_object(**stored)["Body"].read() == b"mine"


def test_a_url_from_the_future_or_for_too_long_is_refused(account, stored, clock):
    clock(3600)
    assert fetch(url_for(account, "s3v4", stored))[0] == 403
    clock(0)
    url = url_for(account, "s3v4", stored, expires=604_800)
    assert fetch(url)[0] == 200
    refused = fetch(url_for(account, "s3v4", stored, expires=604_801))
    assert refused[0] in (400, 403) and b"<Code>AuthorizationQueryParametersError</Code>" in refused[1], refused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_url_can_do_what_its_signer_may(account, stored, version):
    keys = account.user("s3:GetObject", resource=f"arn:aws:s3:::{stored['Bucket']}/*")
    assert fetch(url_for(account, version, stored, keys=keys)) == (200, b"presigned")
    assert code(fetch(url_for(account, version, stored, "put_object", keys=keys), "PUT", b"x")) == (403, "AccessDenied")
    role = account.role("codebuild", ["s3:GetObject"])
    account.iam.update_assume_role_policy(RoleName=role.split("/")[-1], PolicyDocument=(
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}'))
    taker = account.server.client("sts", keys=account.user("sts:AssumeRole", suffix="taker"))
    made = taker.assume_role(RoleArn=role, RoleSessionName="short")["Credentials"]
    short = (made["AccessKeyId"], made["SecretAccessKey"])
    assert fetch(url_for(account, version, stored, keys=short, token=made["SessionToken"])) == (200, b"presigned")
    without = fetch(url_for(account, version, stored, keys=short))
    assert without[0] in (400, 403) and b"presigned" not in without[1]


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_wrong_clock_is_told_in_each_services_words(account, stored, clock, seconds):
    clock(seconds)
    for service, call, expected in [
        ("s3", lambda client: client.get_object(**stored), "RequestTimeTooSkewed"),
        ("codepipeline", lambda client: client.list_pipelines(), "InvalidSignatureException"),
        ("iam", lambda client: client.list_users(), "SignatureDoesNotMatch"),
    ]:
        client = account.server.client(service, retries={"max_attempts": 0}, user_agent_extra=f"skew{seconds}")
        with pytest.raises(ClientError) as refused:
            call(client)
        error = refused.value.response["Error"]
        assert error["Code"] == expected, error
        if expected == "RequestTimeTooSkewed":
            assert error["Message"] == "The difference between the request time and the current time is too large."
        else:
            assert error["Message"].startswith("Signature expired: " if seconds < 0 else "Signature not yet current: "), error


def test_within_a_quarter_of_an_hour_nobody_minds(account, stored, clock):
    for seconds in (-800, 800):
        clock(seconds)
        assert account.s3.get_object(**stored)["Body"].read() == b"presigned"
        account.codepipeline.list_pipelines()
