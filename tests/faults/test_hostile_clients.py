"""A thousand clients that mean harm, and requests that are not what they seem."""

import asyncio
import datetime
import pathlib
import random
import resource
import time
import urllib.error
import urllib.request

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from server import wait_for

BAD_CLIENTS = 1000
SECONDS = 15
# What a thousand connections with their buffers may cost, above the memory that the server had before.
MEMORY_BOUND_MB = 200


def resident_mb(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def slow_head(reader, writer):
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n")
    for index in range(1000):
        writer.write(b"X-%d: a\r\n" % index)
        await writer.drain()
        await asyncio.sleep(1)


async def slow_body(reader, writer):
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-amz-json-1.1\r\n"
                 b"X-Amz-Target: CodePipeline_20150709.ListPipelines\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"{")
        await writer.drain()
        await asyncio.sleep(1)


async def endless_head(reader, writer):
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
    for _ in range(200):
        writer.write(b"X: " + b"a" * 60000 + b"\r\n")
        await writer.drain()
    await reader.read()


async def large_body(reader, writer):
    writer.write(b"POST /bucket/key HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n")
    for _ in range(200):
        writer.write(b"a" * 65536)
        await writer.drain()
    await reader.read()


async def garbage(reader, writer):
    writer.write(random.Random(7).randbytes(4096))
    await writer.drain()
    await reader.read()


async def silence(reader, writer):
    await reader.read()


async def unread_answers(reader, writer):
    for _ in range(1000):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await writer.drain()
    await asyncio.sleep(60)


KINDS = [slow_head, slow_body, endless_head, large_body, garbage, silence, unread_answers]


async def misbehave(port, kind, end):
    """One bad client; it comes back whenever it is thrown out."""
    while time.monotonic() < end:
        writer = None
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.wait_for(kind(reader, writer), max(0.1, end - time.monotonic()))
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            if writer:
                writer.transport.abort()
        await asyncio.sleep(0.5)


def test_a_thousand_bad_clients_hold_nobody_up(server, team):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this machine allows too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    team.bucket("good")
    before, most, slowest, calls = resident_mb(server), 0, 0, 0

    def good_call():
        started = time.monotonic()
        assert team.s3.list_buckets()["Buckets"]
        assert "pipelines" in team.codepipeline.list_pipelines()
        return time.monotonic() - started

    async def everybody():
        nonlocal most, slowest, calls
        end = time.monotonic() + SECONDS
        bad = [asyncio.create_task(misbehave(server.port, KINDS[index % len(KINDS)], end))
               for index in range(BAD_CLIENTS)]
        while time.monotonic() < end:
            slowest = max(slowest, await asyncio.to_thread(good_call))
            most, calls = max(most, resident_mb(server)), calls + 1
            await asyncio.sleep(0.2)
        await asyncio.gather(*bad)

    asyncio.run(everybody())
    assert calls >= 3, "a good client was served all the time"
    assert slowest < SECONDS, f"a good call took {slowest:.1f} s"
    assert most < before + MEMORY_BOUND_MB, f"{before:.0f} MB before, {most:.0f} MB at most"
    wait_for(lambda: resident_mb(server) < before + MEMORY_BOUND_MB / 2, "the memory comes back", timeout=60)
    assert good_call() < 10


def send(request):
    """The status and the body of a signed request."""
    prepared = request.prepare()
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    sent = urllib.request.Request(prepared.url, data=body, headers=dict(prepared.headers), method=prepared.method)
    try:
        with urllib.request.urlopen(sent, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def signed(server, keys, body, monkeypatch, minutes=0):
    """A ListPipelines that was signed so many minutes from now."""
    request = AWSRequest(method="POST", url=server.url + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "CodePipeline_20150709.ListPipelines"})
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    naive = at.replace(tzinfo=None)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: naive, raising=False)
    SigV4Auth(Credentials(*keys), "codepipeline", "us-east-1").add_auth(request)
    return request


def test_signatures_age_and_bind_what_they_sign(server, team, monkeypatch):
    keys = team.user("codepipeline:*")
    fresh = signed(server, keys, "{}", monkeypatch)
    assert send(fresh)[0] == 200
    # There is no nonce: within its quarter of an hour the same request, byte for byte, counts again.
    assert send(fresh)[0] == 200
    for minutes in (-16, 16):
        status, text = send(signed(server, keys, "{}", monkeypatch, minutes))
        assert status in (400, 403) and "InvalidSignatureException" in text, text
    changed = signed(server, keys, "{}", monkeypatch)
    changed.data = '{"maxResults":1}'
    assert "InvalidSignatureException" in send(changed)[1]
    moved = signed(server, keys, "{}", monkeypatch)
    moved.headers.replace_header("X-Amz-Target", "CodePipeline_20150709.GetPipeline")
    assert "InvalidSignatureException" in send(moved)[1]
    team.iam.delete_access_key(UserName=user_of(team, keys), AccessKeyId=keys[0])
    assert "UnrecognizedClientException" in send(fresh)[1], "a replay outlives no key"


def user_of(team, keys):
    return team.iam.get_access_key_last_used(AccessKeyId=keys[0])["UserName"]


FOREIGN = "999999999999"


def test_other_accounts_arns_are_never_ours(team):
    pipeline = f"arn:aws:codepipeline:us-east-1:{FOREIGN}:p"
    tags = [{"key": "k", "value": "v"}]
    repository, _ = team.repository()
    ours = team.codecommit.get_repository(repositoryName=repository)["repositoryMetadata"]["Arn"]
    theirs = ours.replace(ours.split(":")[4], FOREIGN)
    project = team.project("version: 0.2\nphases: {build: {commands: ['true']}}")
    role = team.role("codebuild").replace(ours.split(":")[4], FOREIGN)
    calls = [
        lambda: team.codepipeline.tag_resource(resourceArn=pipeline, tags=tags),
        lambda: team.codepipeline.list_tags_for_resource(resourceArn=pipeline),
        lambda: team.codecommit.tag_resource(resourceArn=theirs, tags={"k": "v"}),
        lambda: team.codecommit.list_tags_for_resource(resourceArn=theirs),
        lambda: team.codebuild.update_project(name=project, serviceRole=role),
        lambda: team.codebuild.delete_report_group(
            arn=f"arn:aws:codebuild:us-east-1:{FOREIGN}:report-group/g", deleteReports=True),
        lambda: team.codedeploy.list_tags_for_resource(
            ResourceArn=f"arn:aws:codedeploy:us-east-1:{FOREIGN}:application:a"),
        lambda: team.logs.list_tags_for_resource(
            resourceArn=f"arn:aws:logs:us-east-1:{FOREIGN}:log-group:g"),
        lambda: team.iam.get_policy(PolicyArn=f"arn:aws:iam::{FOREIGN}:policy/p"),
        lambda: team.server.client("sts").assume_role(
            RoleArn=f"arn:aws:iam::{FOREIGN}:role/r", RoleSessionName="session"),
    ]
    for index, call in enumerate(calls):
        with pytest.raises(ClientError) as refused:
            call()
        error = refused.value
        assert 400 <= error.response["ResponseMetadata"]["HTTPStatusCode"] < 500, f"call {index}: {error}"
    assert team.codecommit.list_tags_for_resource(resourceArn=ours)["tags"] == {}
