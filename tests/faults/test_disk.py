"""What goes wrong around a server: a full disk, a second server, a port that is taken."""

import os
import subprocess

import pytest
from accounts import Account
from botocore.exceptions import ClientError
from server import BIN, Server, free_port, wait_for

DISK_BYTES = 48 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A server whose data folder is a file system of its own, and small."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    server = Server(tmp_path)
    server.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "towpath-test", server.data], check=True)
    try:
        yield server.start()
    finally:
        server.stop()
        subprocess.run(["umount", "-l", server.data], check=True)


def fill(server):
    """Takes all that is left, to the last byte."""
    ballast = server.data / "ballast"
    with open(ballast, "wb") as file:
        for size in (1 << 20, 1 << 12, 1):
            while True:
                try:
                    os.write(file.fileno(), b"\0" * size)
                except OSError:
                    break
    return ballast


def refused(call):
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_a_full_disk_refuses_writes_and_is_forgotten_once_there_is_room(small_disk, tmp_path):
    server, team = small_disk, Account(small_disk)
    bucket = team.bucket()
    team.s3.put_object(Bucket=bucket, Key="before", Body=b"before")
    repository, url = team.repository()
    work = team.checkout(str(tmp_path / "work"), url, team.git_user())
    first = team.commit(work, {"a": "1"})
    team.git(work, "push", "-q", "origin", "main")
    team.logs.create_log_group(logGroupName="g")
    ballast = fill(server)
    team.commit(work, {"b": "x" * 100_000})
    pushed = team.git(work, "push", "-q", "origin", "main", check=False)
    assert pushed.returncode != 0
    writes = {
        "object": lambda: team.s3.put_object(Bucket=bucket, Key="during", Body=b"x" * 1_000_000),
        "large object": lambda: team.s3.put_object(Bucket=bucket, Key="during", Body=os.urandom(9_000_000)),
        "file": lambda: team.codecommit.put_file(
            repositoryName=repository, branchName="main", filePath="f", fileContent=os.urandom(100_000),
            parentCommitId=first),
    }
    for what, write in writes.items():
        status, message = refused(write)
        assert status >= 500, (what, status, message)
    # The store keeps some room of its own, so small documents may still fit; whoever is told yes keeps it.
    made = []
    for number in range(3000):
        try:
            team.iam.create_user(UserName=f"u{number}")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
            break
        made.append(f"u{number}")
    assert "No space left on device" in server.log() or "full" in server.log()
    assert team.s3.get_object(Bucket=bucket, Key="before")["Body"].read() == b"before"
    assert "during" not in [found["Key"] for found in team.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    ballast.unlink()
    team.s3.put_object(Bucket=bucket, Key="after", Body=b"x" * 1_000_000)
    team.iam.create_user(UserName="after")
    team.git(work, "push", "-q", "origin", "main")
    server.restart()
    users = {user["UserName"] for page in team.iam.get_paginator("list_users").paginate() for user in page["Users"]}
    assert {*made, "after"} <= users
    assert team.s3.get_object(Bucket=bucket, Key="after")["ContentLength"] == 1_000_000
    assert team.git(work, "ls-remote", "origin", "main").stdout.split()[0] == team.git(work, "rev-parse", "HEAD").stdout.strip()


def test_a_build_on_a_full_disk_ends_and_the_next_one_works(small_disk):
    server, team = small_disk, Account(small_disk)
    bucket = team.bucket()
    spec = ("version: 0.2\nphases:\n  build:\n    commands:\n      - head -c {} /dev/urandom > out\n"
            "artifacts:\n  files: [out]\n")
    project = team.project(spec.format(200 << 20), artifacts={"type": "S3", "location": bucket, "packaging": "ZIP"})

    def run(**more):
        build = team.codebuild.start_build(projectName=project, **more)["build"]["id"]
        return wait_for(lambda: (lambda found: found if found["buildComplete"] else None)(
            team.codebuild.batch_get_builds(ids=[build])["builds"][0]), "the build ends")

    full = run()
    assert full["buildStatus"] in ("FAILED", "FAULT"), full["buildStatus"]
    assert run(buildspecOverride=spec.format(1 << 10))["buildStatus"] == "SUCCEEDED"
    wait_for(lambda: os.statvfs(server.data).f_bavail * 4096 > DISK_BYTES // 2, "the failed build's files are gone")


def test_one_data_folder_has_one_server(own_server):
    second = subprocess.run([BIN, "up", "--listen", f"127.0.0.1:{free_port()}", "--data", str(own_server.data)],
                            capture_output=True, text=True, timeout=30)
    assert second.returncode != 0
    assert str(own_server.data) in second.stderr and "in use by another" in second.stderr, second.stderr
    assert own_server.is_ready()
    assert own_server.client("iam").list_users()["Users"] == []
    # What a client program reads to find the server is still the first one's.
    assert own_server.aws("sts", "get-caller-identity")["Account"] == "000000000000"
    connection = (own_server.data / "connection.json").read_text()
    assert str(own_server.port) in connection


def test_a_port_that_is_taken_is_named(own_server, tmp_path):
    address = f"127.0.0.1:{own_server.port}"
    second = subprocess.run([BIN, "up", "--listen", address, "--data", str(tmp_path / "other")],
                            capture_output=True, text=True, timeout=30)
    assert second.returncode != 0 and address in second.stderr, second.stderr
