"""The whole path by the aws CLI and git alone, also by their higher commands: `s3 sync`, `deploy push`, `deploy
register`, `deploy wait`, and the CLI's credential helper for git."""

import json
import os
import subprocess

import pytest

from accounts import allow, trust
from server import wait_for
from watch import Pipe


@pytest.fixture
def aws(account):
    return account.server.aws


def declared(tmp_path, name, document):
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(document))
    return f"file://{path}"


def role(aws, name, service, *actions):
    made = aws("iam", "create-role", "--role-name", name, "--assume-role-policy-document", trust(service))
    aws("iam", "put-role-policy", "--role-name", name, "--policy-name", "work", "--policy-document", allow(*actions))
    return made["Role"]["Arn"]


def test_from_a_push_to_a_host_by_the_aws_cli_and_git(account, aws, fleet, tmp_path):
    name = account.name
    host = fleet.host("web")
    # A developer who signs pushes with their access key, through the CLI's own credential helper.
    aws("iam", "create-user", "--user-name", f"{name}-dev")
    aws("iam", "attach-user-policy", "--user-name", f"{name}-dev",
        "--policy-arn", "arn:aws:iam::aws:policy/AWSCodeCommitPowerUser")
    key = aws("iam", "create-access-key", "--user-name", f"{name}-dev")["AccessKey"]
    developer = key["AccessKeyId"], key["SecretAccessKey"]
    assert aws("sts", "get-caller-identity", keys=developer)["Arn"].endswith(f":user/{name}-dev")
    url = aws("codecommit", "create-repository", "--repository-name", name)["repositoryMetadata"]["cloneUrlHttp"]
    build_role = role(aws, f"{name}-build", "codebuild", "logs:*", "s3:*")
    pipeline_role = role(aws, f"{name}-pipe", "codepipeline", "codecommit:*", "codebuild:*", "codedeploy:*", "s3:*")
    deploy_role = role(aws, f"{name}-deploy", "codedeploy", "s3:Get*")
    aws("s3", "mb", f"s3://{name}-store", check=False)
    aws("codebuild", "create-project", "--name", name, "--service-role", build_role,
        "--source", "type=CODEPIPELINE", "--artifacts", "type=CODEPIPELINE", "--environment",
        "type=LINUX_CONTAINER,image=aws/codebuild/standard:7.0,computeType=BUILD_GENERAL1_SMALL")
    aws("deploy", "create-application", "--application-name", name, "--compute-platform", "Server")
    aws("deploy", "create-deployment-group", "--application-name", name, "--deployment-group-name", "web",
        "--service-role-arn", deploy_role, "--on-premises-instance-tag-filters", f"Key=fleet,Value={name},Type=KEY_AND_VALUE")
    action = lambda category, provider, configuration, inputs=(), outputs=(): {"name": provider, "actions": [{
        "name": provider, "actionTypeId": {"category": category, "owner": "AWS", "provider": provider, "version": "1"},
        "configuration": configuration, "inputArtifacts": [{"name": one} for one in inputs],
        "outputArtifacts": [{"name": one} for one in outputs]}]}
    aws("codepipeline", "create-pipeline", "--pipeline", declared(tmp_path, "pipeline", {
        "name": name, "roleArn": pipeline_role, "pipelineType": "V2",
        "artifactStore": {"type": "S3", "location": f"{name}-store"}, "stages": [
            action("Source", "CodeCommit", {"RepositoryName": name, "BranchName": "main"}, outputs=["source"]),
            action("Build", "CodeBuild", {"ProjectName": name}, ["source"], ["built"]),
            action("Approval", "Manual", {}),
            action("Deploy", "CodeDeploy", {"ApplicationName": name, "DeploymentGroupName": "web"}, ["built"])]}))
    tree = tmp_path / "tree"
    environment = account.server.env(developer)
    git = lambda *words, cwd=tree: subprocess.run(["git", *words], cwd=cwd, env=environment, check=True, capture_output=True)
    helper = "credential.helper=!aws codecommit credential-helper --ignore-host-check $@"
    git("clone", "-q", "-c", helper, "-c", "credential.UseHttpPath=true", url, str(tree), cwd=tmp_path)
    git("checkout", "-q", "-b", "main")
    for setting, value in {"user.name": "Dev", "user.email": "dev@example.com"}.items():
        git("config", setting, value)
    (tree / "buildspec.yml").write_text(
        "version: 0.2\nphases: {build: {commands: [echo made > made.txt]}}\nartifacts: {files: [made.txt, appspec.yml]}\n")
    (tree / "appspec.yml").write_text(
        "version: 0.0\nos: linux\nfiles:\n  - source: made.txt\n    destination: /opt/made\n")
    git("add", "-A")
    git("commit", "-q", "-m", "by the command line")
    git("push", "-q", "origin", "main")
    made = Pipe(account, name)
    made.waiting("Manual", "Manual")  # polled by boto3, for a process of the CLI takes a second
    state = aws("codepipeline", "get-pipeline-state", "--name", name)["stageStates"]
    token = state[2]["actionStates"][0]["latestExecution"]["token"]
    build = aws("codebuild", "list-builds-for-project", "--project-name", name)["ids"][0]
    assert aws("codebuild", "batch-get-builds", "--ids", build)["builds"][0]["buildStatus"] == "SUCCEEDED"
    aws("codepipeline", "put-approval-result", "--pipeline-name", name, "--stage-name", "Manual", "--action-name", "Manual",
        "--token", token, "--result", "summary=fine,status=Approved")
    deployment = wait_for(lambda: made.latest("CodeDeploy", "CodeDeploy").get("externalExecutionId"), "the deployment")
    fleet.wait(deployment)
    aws("deploy", "wait", "deployment-successful", "--deployment-id", deployment)  # it looks every 15 s
    targets = aws("deploy", "list-deployment-targets", "--deployment-id", deployment)["targetIds"]
    assert targets == [host]
    assert fleet.read(host, "/opt/made/made.txt") == "made"


def test_deploy_push_register_and_wait(account, aws, fleet, tmp_path):
    host = fleet.host("web")
    fleet.group()
    folder = tmp_path / "app"
    (folder / "scripts").mkdir(parents=True)
    (folder / "appspec.yml").write_text(
        "version: 0.0\nos: linux\nfiles:\n  - source: /\n    destination: /opt/app\nhooks:\n"
        "  AfterInstall:\n    - location: scripts/after.sh\n")
    (folder / "word.txt").write_text("pushed\n")
    (folder / "scripts/after.sh").write_text("#!/bin/sh\ntouch /opt/app/after\n")
    done = aws("deploy", "push", "--application-name", fleet.application, "--source", str(folder),
               "--s3-location", f"s3://{fleet.revisions}/pushed.zip", "--description", "by push", check=False)
    assert done.returncode == 0, done.stderr
    assert "aws deploy create-deployment" in done.stdout
    listed = aws("deploy", "list-application-revisions", "--application-name", fleet.application)["revisions"]
    assert listed[0]["s3Location"]["key"] == "pushed.zip" and listed[0]["s3Location"]["eTag"]
    location = ",".join(f"{name}={value}" for name, value in listed[0]["s3Location"].items())
    deployment = aws("deploy", "create-deployment", "--application-name", fleet.application,
                     "--deployment-group-name", "web", "--s3-location", location)["deploymentId"]
    fleet.wait(deployment)
    aws("deploy", "wait", "deployment-successful", "--deployment-id", deployment)
    assert fleet.read(host, "/opt/app/word.txt") == "pushed" and fleet.read(host, "/opt/app/after") == ""
    told = aws("deploy", "get-application-revision", "--application-name", fleet.application, "--s3-location", location)
    assert told["revisionInfo"]["description"] == "by push" and told["revisionInfo"]["deploymentGroups"] == ["web"]
    registered = aws("deploy", "register", "--instance-name", f"{account.name}-metal",
                     "--tags", f"Key=fleet,Value={account.name}-metal", check=False, cwd=tmp_path)
    assert registered.returncode == 0, registered.stdout + registered.stderr
    found = aws("deploy", "get-on-premises-instance", "--instance-name", f"{account.name}-metal")["instanceInfo"]
    assert found["tags"] == [{"Key": "fleet", "Value": f"{account.name}-metal"}] and ":user/" in found["iamUserArn"]
    assert (tmp_path / "codedeploy.onpremises.yml").exists()
    gone = aws("deploy", "deregister", "--instance-name", f"{account.name}-metal", check=False)
    assert gone.returncode == 0, gone.stdout + gone.stderr


def test_s3_sync_cp_and_presign(account, aws, tmp_path):
    bucket = account.bucket("files")
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    (folder / "index.html").write_text("<p>one")
    (folder / "sub/big.bin").write_bytes(os.urandom(9 << 20))
    first = aws("s3", "sync", str(folder), f"s3://{bucket}/", check=False)
    assert first.returncode == 0 and "index.html" in first.stdout, first.stderr
    again = aws("s3", "sync", str(folder), f"s3://{bucket}/", check=False)
    assert again.stdout.strip() == "", "nothing has changed"
    back = tmp_path / "back"
    aws("s3", "cp", f"s3://{bucket}/", str(back), "--recursive", check=False)
    assert (back / "sub/big.bin").read_bytes() == (folder / "sub/big.bin").read_bytes()
    listed = aws("s3", "ls", f"s3://{bucket}/", "--recursive", check=False).stdout
    assert "sub/big.bin" in listed and "index.html" in listed
    link = aws("s3", "presign", f"s3://{bucket}/index.html", check=False).stdout.strip()
    fetched = subprocess.run(["python3", "-c", "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())", link],
                             capture_output=True, text=True, env={"PATH": os.environ["PATH"], "no_proxy": "*"})
    assert fetched.stdout.strip() == "<p>one", fetched.stderr
    assert aws("s3", "rb", f"s3://{bucket}", check=False).returncode != 0, "it is not empty"
    assert aws("s3", "rb", f"s3://{bucket}", "--force", check=False).returncode == 0
