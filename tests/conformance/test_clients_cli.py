"""The aws CLI v2 as Debian ships it, each command a process of its own, as people type it."""

import json
import os
import subprocess
import urllib.request

import pytest
from accounts import zipped
from server import wait_for

DEBIAN = "/usr/bin/aws"


@pytest.fixture
def aws(account):
    """Runs a command line; `--endpoint-url` is needed because 2.9 does not read AWS_ENDPOINT_URL."""
    def run(*words, output="json", code=0, cwd=None):
        environment = account.server.env() | {"PATH": "/usr/bin:/bin"}
        done = subprocess.run([DEBIAN, "--endpoint-url", account.server.url, "--output", output, *map(str, words)],
                              env=environment, cwd=cwd, capture_output=True, text=True)
        assert done.returncode == code, f"aws {words}: {done.returncode}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if output == "json" and done.stdout.strip().startswith("{") else done.stdout + done.stderr
    return run


def test_it_is_the_second_version(aws):
    assert aws("--version", output="text").startswith("aws-cli/2.")
    assert aws("sts", "get-caller-identity")["Account"] == "000000000000"


def test_output_formats(account, aws):
    account.iam.create_user(UserName=account.name)
    assert account.name in aws("iam", "get-user", "--user-name", account.name, output="yaml")
    assert account.name in aws("iam", "get-user", "--user-name", account.name, output="yaml-stream")
    assert aws("iam", "list-users", output="table").startswith("---")
    told = aws("iam", "get-user", "--user-name", account.name, "--query", "User.CreateDate", output="text")
    assert "T" in told and told.strip().endswith("+00:00"), "v2 shows times in ISO 8601"


def test_waiters_and_exit_codes(account, aws):
    account.iam.create_user(UserName=account.name)
    aws("iam", "wait", "user-exists", "--user-name", account.name)
    bucket = account.bucket()
    aws("s3api", "wait", "bucket-exists", "--bucket", bucket)
    assert "NoSuchEntity" in aws("iam", "get-user", "--user-name", "absent", code=254)
    assert "404" in aws("s3api", "head-object", "--bucket", bucket, "--key", "absent", code=254)


def test_source(account, aws, tmp_path):
    aws("codecommit", "create-repository", "--repository-name", account.name, "--tags", "team=a")
    (tmp_path / "readme").write_text("hello")
    put = aws("codecommit", "put-file", "--repository-name", account.name, "--branch-name", "main", "--file-path",
              "readme", "--file-content", f"fileb://{tmp_path}/readme", "--commit-message", "first")
    got = aws("codecommit", "get-file", "--repository-name", account.name, "--file-path", "readme")
    assert got["commitId"] == put["commitId"] and got["fileContent"] == "aGVsbG8="
    log = aws("codecommit", "get-commit", "--repository-name", account.name, "--commit-id", put["commitId"])
    assert log["commit"]["message"] == "first"


def test_objects(account, aws, tmp_path):
    bucket, large = account.bucket(), os.urandom(9 << 20)  # beyond 8 MiB it uploads in parts
    (tmp_path / "large").write_bytes(large)
    (tmp_path / "tree/a b").mkdir(parents=True)
    (tmp_path / "tree/a b/c+d.txt").write_text("x")
    aws("s3", "cp", tmp_path / "large", f"s3://{bucket}/large", output="text")
    aws("s3", "sync", tmp_path / "tree", f"s3://{bucket}/tree", output="text")
    aws("s3", "cp", f"s3://{bucket}/large", tmp_path / "back", output="text")
    assert (tmp_path / "back").read_bytes() == large
    assert "tree/a b/c+d.txt" in aws("s3", "ls", "--recursive", f"s3://{bucket}", output="text")
    url = aws("s3", "presign", f"s3://{bucket}/tree/a b/c+d.txt", output="text").strip()
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.read() == b"x"
    aws("s3", "rb", "--force", f"s3://{bucket}", output="text")


def test_a_deployment_and_its_waiter(account, aws, tmp_path):
    aws("deploy", "create-application", "--application-name", account.name)
    aws("deploy", "create-deployment-group", "--application-name", account.name, "--deployment-group-name", "g",
        "--service-role-arn", account.role("codedeploy"))
    bucket = account.bucket()
    account.s3.put_object(Bucket=bucket, Key="app.zip", Body=zipped({"appspec.yml": "version: 0.0\nos: linux\n"}))
    made = aws("deploy", "create-deployment", "--application-name", account.name, "--deployment-group-name", "g",
               "--s3-location", f"bucket={bucket},key=app.zip,bundleType=zip")["deploymentId"]
    wait_for(lambda: account.codedeploy.get_deployment(deploymentId=made)["deploymentInfo"]["status"] == "Failed",
             "the deployment to nobody fails")
    assert "Failed" in aws("deploy", "wait", "deployment-successful", "--deployment-id", made, code=255)
