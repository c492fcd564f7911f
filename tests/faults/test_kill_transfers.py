"""kill -9 while content comes in: what was not acknowledged is not there, and leaves no files behind."""

import os
import subprocess
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from server import wait_for


def size_of(folder):
    found = subprocess.run(["du", "-sk", folder], capture_output=True, text=True).stdout.split()
    return int(found[0]) << 10


def test_a_push_that_the_server_did_not_survive(server, team, tmp_path):
    repository, url = team.repository()
    folder = team.checkout(str(tmp_path / "work"), url, team.git_user())
    first = team.commit(folder, {"a": "1"})
    team.git(folder, "push", "-q", "origin", "main")
    small = size_of(server.data / "codecommit")
    (tmp_path / "work/big").write_bytes(os.urandom(24 << 20))
    second = team.commit(folder, {"b": "2"})
    for _ in range(3):
        pushing = subprocess.Popen(["git", "push", "-q", "origin", "main"], cwd=folder, env=server.env(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(lambda: size_of(server.data / "codecommit") > small + (4 << 20) or pushing.poll() is not None,
                 "the pack is on its way", every=0.01)
        server.restart()
        pushed = pushing.wait(timeout=60) == 0
        pushing.stderr.close()
        tip = team.git(folder, "ls-remote", "origin", "main").stdout.split()[0]
        assert tip in (first, second) and (tip == second or not pushed)
        if tip == second:
            break
        wait_for(lambda: size_of(server.data / "codecommit") < small + (2 << 20), "the half pack is gone")
    team.git(folder, "push", "-q", "origin", "main")
    assert team.git(folder, "ls-remote", "origin", "main").stdout.split()[0] == second


def test_uploads_that_the_server_did_not_survive(server, team):
    bucket = team.bucket()
    team.s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    before = size_of(server.data / "objects")
    body, acknowledged = os.urandom(48 << 20), []

    def put():
        try:
            team.s3.put_object(Bucket=bucket, Key="k", Body=body)
            acknowledged.append("k")
        except (BotoCoreError, ClientError):
            pass

    writer = threading.Thread(target=put)
    writer.start()
    wait_for(lambda: size_of(server.data / "objects") > before + (1 << 20) or not writer.is_alive(),
             "the object is on its way", every=0.005)
    server.kill()
    writer.join()
    server.start()
    got = team.s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    assert got == (body if acknowledged else got) and got in (b"old", body)
    if got == b"old":
        wait_for(lambda: size_of(server.data / "objects") < before + (1 << 20), "the half object is gone")


def test_a_multipart_upload_goes_on_after_a_death(server, team):
    bucket = team.bucket()
    upload = team.s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    pieces = [b"a" * (5 << 20), b"b" * (5 << 20), b"c"]
    parts = []
    for number, piece in enumerate(pieces, 1):
        etag = team.s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=piece)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
        server.restart()
    listed = team.s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["ETag"]) for part in listed] == [(part["PartNumber"], part["ETag"]) for part in parts]
    team.s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    server.restart()
    assert team.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"".join(pieces)


@pytest.mark.parametrize("kill", [True, False])
def test_root_keys_and_sessions_outlive_the_server(server, team, kill):
    before = server.root_keys()
    name = "r"
    team.iam.create_role(RoleName=name, AssumeRolePolicyDocument=(
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
        '"Principal": {"AWS": "arn:aws:iam::000000000000:root"}}]}'))
    user = team.user("sts:AssumeRole")
    keys = server.client("sts", keys=user).assume_role(
        RoleArn=f"arn:aws:iam::000000000000:role/{name}", RoleSessionName="here")["Credentials"]
    server.restart(kill=kill)
    assert server.root_keys() == before
    assert os.stat(server.data / "identity/root-credentials.json").st_mode & 0o077 == 0
    session = server.client("sts", keys=(keys["AccessKeyId"], keys["SecretAccessKey"]), token=keys["SessionToken"])
    assert session.get_caller_identity()["Arn"].endswith(f"assumed-role/{name}/here")


def test_a_stop_lets_requests_finish(server, team):
    """SIGTERM while an object comes in: it is either stored and acknowledged, or neither."""
    bucket, done = team.bucket(), []

    def put():
        try:
            team.s3.put_object(Bucket=bucket, Key="k", Body=os.urandom(32 << 20))
            done.append(True)
        except (BotoCoreError, ClientError):
            done.append(False)

    writer = threading.Thread(target=put)
    writer.start()
    begun = time.monotonic()
    wait_for(lambda: size_of(server.data / "objects") > (1 << 20) or done, "the object is on its way", every=0.005)
    server.stop()
    writer.join()
    assert time.monotonic() - begun < 30
    server.start()
    found = [one["Key"] for one in team.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    assert found == (["k"] if done == [True] else [])
