"""The unmodified aws CLI against every service: writes, reads, waits, and its output formats."""

import json
import os
import subprocess

import pytest
from accounts import action, allow, trust
from server import BIN, wait_for


def text_of(server, *words, output="text", keys=None, environment=None, code=0):
    done = subprocess.run(["aws", *map(str, words), "--output", output], env=environment or server.env(keys),
                          capture_output=True, text=True)
    assert done.returncode == code, f"aws {words}: {done.stdout}{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def test_identities(account):
    aws, name = account.server.aws, account.name
    aws("iam", "create-user", "--user-name", name, "--tags", "Key=team,Value=a b")
    aws("iam", "attach-user-policy", "--user-name", name, "--policy-arn", "arn:aws:iam::aws:policy/AWSCodeCommitPowerUser")
    key = aws("iam", "create-access-key", "--user-name", name)["AccessKey"]
    keys = key["AccessKeyId"], key["SecretAccessKey"]
    who = aws("sts", "get-caller-identity", keys=keys)
    assert who == {"UserId": who["UserId"], "Account": "000000000000", "Arn": f"arn:aws:iam::000000000000:user/{name}"}
    role = aws("iam", "create-role", "--role-name", name, "--assume-role-policy-document", trust("codebuild"))["Role"]
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {"Service": "codebuild.amazonaws.com"}
    policies = aws("iam", "list-attached-user-policies", "--user-name", name)["AttachedPolicies"]
    assert [one["PolicyName"] for one in policies] == ["AWSCodeCommitPowerUser"]
    refused = text_of(account.server, "iam", "create-user", "--user-name", "x", keys=keys, code=255)
    assert "AccessDenied" in refused and "iam:CreateUser" in refused


def test_a_role_in_a_profile(account, tmp_path):
    """`role_arn` and `source_profile`, as teams set their CLIs up."""
    name = account.name
    user = account.iam.create_user(UserName=name)["User"]["Arn"]
    account.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=allow("sts:AssumeRole"))
    key = account.iam.create_access_key(UserName=name)["AccessKey"]
    account.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": user}}]}))
    account.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=allow("codepipeline:*"))
    (tmp_path / "config").write_text(
        f"[profile work]\nrole_arn = arn:aws:iam::000000000000:role/{name}\nsource_profile = me\n"
        f"endpoint_url = {account.server.url}\nregion = us-east-1\n"
        f"[profile me]\nendpoint_url = {account.server.url}\nregion = us-east-1\n")
    (tmp_path / "credentials").write_text(
        f"[me]\naws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "HOME": str(tmp_path)}
    text_of(account.server, "codepipeline", "list-pipelines", "--profile", "work", environment=environment)
    assert "AccessDenied" in text_of(account.server, "codepipeline", "list-pipelines", "--profile", "me",
                                     environment=environment, code=255)


def test_the_profile_that_towpath_writes(account, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "HOME": str(tmp_path), "TOWPATH_DATA": str(account.server.data)}
    subprocess.run([BIN, "profile"], env=environment, check=True, capture_output=True)
    assert os.stat(tmp_path / ".aws/credentials").st_mode & 0o077 == 0
    told = text_of(account.server, "sts", "get-caller-identity", "--profile", "towpath", output="json", environment=environment)
    assert json.loads(told)["Arn"].endswith(":root")
    assert text_of(account.server, "s3", "ls", "--profile", "towpath", environment=environment) is not None


def test_source_and_pipeline(account, tmp_path):
    aws, name = account.server.aws, account.name
    made = aws("codecommit", "create-repository", "--repository-name", name, "--repository-description", "a repository",
               "--tags", "team=a")["repositoryMetadata"]
    assert made["cloneUrlHttp"] == f"{account.server.url}/v1/repos/{name}" and made["Arn"].endswith(f":{name}")
    (tmp_path / "readme").write_text("hello")
    aws("codecommit", "put-file", "--repository-name", name, "--branch-name", "main", "--file-path", "readme",
        "--file-content", f"fileb://{tmp_path}/readme")
    assert aws("codecommit", "list-branches", "--repository-name", name)["branches"] == ["main"]
    pipeline = {"pipeline": {
        "name": name, "roleArn": account.role("codepipeline"), "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": account.bucket()},
        "stages": [
            {"name": "Source", "actions": [action("Source", "Source", "CodeCommit", {
                "RepositoryName": name, "BranchName": "main", "PollForSourceChanges": "false"}, outputs=["s"])]},
            {"name": "Ask", "actions": [action("Ask", "Approval", "Manual")]}]}}
    (tmp_path / "pipeline.json").write_text(json.dumps(pipeline))
    aws("codepipeline", "create-pipeline", "--cli-input-json", f"file://{tmp_path}/pipeline.json")
    told = aws("codepipeline", "get-pipeline", "--name", name)["pipeline"]
    assert told["version"] == 1 and told["stages"][1]["actions"][0]["actionTypeId"]["provider"] == "Manual"
    assert name in [one["name"] for one in aws("codepipeline", "list-pipelines")["pipelines"]]

    def waiting():
        stages = aws("codepipeline", "get-pipeline-state", "--name", name)["stageStates"]
        return stages[1]["actionStates"][0].get("latestExecution", {}).get("token")
    token = wait_for(waiting, "the approval waits")
    aws("codepipeline", "put-approval-result", "--pipeline-name", name, "--stage-name", "Ask", "--action-name", "Ask",
        "--token", token, "--result", "summary=no,status=Rejected")
    listed = lambda: aws("codepipeline", "list-pipeline-executions", "--pipeline-name", name)["pipelineExecutionSummaries"]
    assert wait_for(lambda: listed()[0]["status"] == "Failed", "the rejection ends it")
    table = text_of(account.server, "codepipeline", "list-pipelines", output="table")
    assert name in table and table.startswith("---")
    assert name in text_of(account.server, "codepipeline", "list-pipelines", "--query", "pipelines[].name").split()
    aws("codepipeline", "delete-pipeline", "--name", name)


def test_builds(account):
    aws, name = account.server.aws, account.name
    aws("codebuild", "create-project", "--name", name, "--service-role", account.role("codebuild"),
        "--source", json.dumps({"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {build: {commands: ['echo hi $WHO']}}"}),
        "--artifacts", "type=NO_ARTIFACTS", "--environment",
        "type=LINUX_CONTAINER,image=aws/codebuild/standard:7.0,computeType=BUILD_GENERAL1_SMALL")
    build = aws("codebuild", "start-build", "--project-name", name,
                "--environment-variables-override", "name=WHO,value=there")["build"]["id"]
    told = wait_for(lambda: (lambda found: found if found["buildComplete"] else None)(
        aws("codebuild", "batch-get-builds", "--ids", build)["builds"][0]), "the build ends")
    assert told["buildStatus"] == "SUCCEEDED"
    logs = told["logs"]
    lines = aws("logs", "get-log-events", "--log-group-name", logs["groupName"], "--log-stream-name", logs["streamName"])
    assert "hi there" in [event["message"].strip() for event in lines["events"]]
    assert build in text_of(account.server, "codebuild", "list-builds-for-project", "--project-name", name)
    assert "SUCCEEDED" in text_of(account.server, "codebuild", "batch-get-builds", "--ids", build, output="table")


def test_deploy_push_and_its_waiter(account, tmp_path):
    """`aws deploy push` is a client of its own: it zips, uploads, and registers."""
    aws, name, bucket = account.server.aws, account.name, account.bucket()
    aws("deploy", "create-application", "--application-name", name)
    aws("deploy", "create-deployment-group", "--application-name", name, "--deployment-group-name", "g",
        "--service-role-arn", account.role("codedeploy"))
    (tmp_path / "app").mkdir()
    (tmp_path / "app/appspec.yml").write_text("version: 0.0\nos: linux\n")
    text_of(account.server, "deploy", "push", "--application-name", name, "--s3-location", f"s3://{bucket}/app.zip",
            "--source", tmp_path / "app")
    listed = aws("deploy", "list-application-revisions", "--application-name", name)["revisions"]
    assert [one["s3Location"]["key"] for one in listed] == ["app.zip"] and listed[0]["s3Location"]["eTag"]
    made = aws("deploy", "create-deployment", "--application-name", name, "--deployment-group-name", "g",
               "--s3-location", f"bucket={bucket},key=app.zip,bundleType=zip")["deploymentId"]
    failed = text_of(account.server, "deploy", "wait", "deployment-successful", "--deployment-id", made, code=255)
    assert "Failed" in failed, "there is no host"


def test_register_a_host_as_the_guide_says(account, tmp_path):
    """`aws deploy register` makes the IAM user, its policy and key, and the registration."""
    name = account.name
    done = subprocess.run(["aws", "deploy", "register", "--instance-name", name, "--tags", "Key=role,Value=web"],
                          env=account.server.env(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    told = account.codedeploy.get_on_premises_instance(instanceName=name)["instanceInfo"]
    assert told["iamUserArn"].endswith(f"/{name}") and told["tags"] == [{"Key": "role", "Value": "web"}]
    assert "aws_access_key_id" in (tmp_path / "codedeploy.onpremises.yml").read_text()
    done = subprocess.run(["aws", "deploy", "deregister", "--instance-name", name], env=account.server.env(),
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_objects(account, tmp_path):
    aws, bucket = account.server.aws, account.bucket()
    (tmp_path / "a.txt").write_text("a")
    text_of(account.server, "s3", "cp", tmp_path / "a.txt", f"s3://{bucket}/dir/a.txt")
    assert "a.txt" in text_of(account.server, "s3", "ls", f"s3://{bucket}", "--recursive", "--summarize")
    assert aws("s3api", "head-object", "--bucket", bucket, "--key", "dir/a.txt")["ContentLength"] == 1
    text_of(account.server, "s3", "rm", f"s3://{bucket}", "--recursive")
    text_of(account.server, "s3", "rb", f"s3://{bucket}")
    assert "404" in text_of(account.server, "s3api", "head-bucket", "--bucket", bucket, code=255)


@pytest.mark.parametrize("output", ["table", "text"])
@pytest.mark.parametrize("words", [
    ("iam", "list-users"), ("sts", "get-caller-identity"), ("codecommit", "list-repositories"),
    ("deploy", "list-deployment-configs"), ("logs", "describe-log-groups")], ids=" ".join)
def test_outputs(account, output, words):
    account.iam.create_user(UserName=account.name[:60])
    assert text_of(account.server, *words, output=output) is not None
