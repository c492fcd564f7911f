"""Looking at pipelines, builds, deployments and hosts from outside, until they are as expected."""

import contextlib
import json
import os

import pytest

from accounts import Account, action
from server import wait_for

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a rootless sandbox has one user and read-only system folders")
DONE = {"Succeeded", "Failed", "Stopped", "Cancelled", "Superseded"}
SOURCE = "Source"


def source_action(repository, branch="main", name=SOURCE, **configuration):
    configuration = {"RepositoryName": repository, "BranchName": branch} | configuration
    return action(name, "Source", "CodeCommit", configuration, outputs=["source"])


def build_action(project, name="Build", inputs=("source",), outputs=("built",), run_order=1, more=None, **rest):
    return action(name, "Build", "CodeBuild", {"ProjectName": project} | (more or {}), inputs, outputs, run_order, **rest)


def approval_action(name="Ask", run_order=1, **configuration):
    return action(name, "Approval", "Manual", configuration, run_order=run_order)


def publish_action(bucket, name="Publish", inputs=("source",), run_order=1, **configuration):
    """An S3 deploy action: the artifact's files as objects of `bucket`."""
    return action(name, "Deploy", "S3", {"BucketName": bucket, "Extract": "true"} | configuration, inputs,
                  run_order=run_order)


def deploy_action(application, group, name="Deploy", inputs=("built",), run_order=1):
    return action(name, "Deploy", "CodeDeploy", {"ApplicationName": application, "DeploymentGroupName": group},
                  inputs, run_order=run_order)


def commit_to(account, repository, files, branch="main", message="change"):
    """A commit by the API; answers its id."""
    commits = account.codecommit
    more = {}
    with contextlib.suppress(commits.exceptions.BranchDoesNotExistException):
        head = commits.get_branch(repositoryName=repository, branchName=branch)["branch"]["commitId"]
        more = {"parentCommitId": head}
    puts = [{"filePath": path, "fileContent": content.encode(),
             "fileMode": "EXECUTABLE" if path.endswith(".sh") else "NORMAL"} for path, content in files.items()]
    return commits.create_commit(repositoryName=repository, branchName=branch, putFiles=puts, authorName="Dev",
                                 email="dev@example.com", commitMessage=message, **more)["commitId"]


def repository_with(account, files, **more):
    name, url = account.repository(**more)
    commit = commit_to(account, name, files)
    return name, url, commit


class Pipe:
    """A pipeline as its users see it."""

    def __init__(self, account: Account, name):
        self.account = account
        self.name = name
        self.client = account.codepipeline

    def start(self, **more):
        return self.client.start_pipeline_execution(name=self.name, **more)["pipelineExecutionId"]

    def executions(self):
        """Newest first."""
        pages = self.client.get_paginator("list_pipeline_executions").paginate(pipelineName=self.name)
        return [one for page in pages for one in page["pipelineExecutionSummaries"]]

    def nth(self, number):
        """The id of the `number`th execution, once there is one."""
        found = wait_for(lambda: len(all := self.executions()) >= number and all, f"{number} executions of {self.name}")
        return found[-number]["pipelineExecutionId"]

    def newest(self):
        found = wait_for(self.executions, f"an execution of {self.name}")
        return found[0]["pipelineExecutionId"]

    def get(self, execution):
        return self.client.get_pipeline_execution(
            pipelineName=self.name, pipelineExecutionId=execution)["pipelineExecution"]

    def wait(self, execution, status="Succeeded", timeout=60):
        """Waits for the execution's end and insists on how it ended."""
        def look():
            now = self.get(execution)["status"]
            if now == status:
                return now
            assert now not in DONE or now == "Stopping", f"{self.name} is {now}, not {status}"
            return None
        with self.explained(execution):
            return wait_for(look, f"{self.name} {execution} is {status}", timeout=timeout)

    @contextlib.contextmanager
    def explained(self, execution):
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told(execution)}") from None

    def told(self, execution):
        lines = [f"{one['stageName']}/{one['actionName']} {one['status']} "
                 f"{json.dumps(one.get('output', {}).get('executionResult', {}))}" for one in self.actions(execution)]
        return "\n".join(lines)

    def actions(self, execution=None):
        """Newest first."""
        chosen = {"filter": {"pipelineExecutionId": execution}} if execution else {}
        pages = self.client.get_paginator("list_action_executions").paginate(pipelineName=self.name, **chosen)
        return [one for page in pages for one in page["actionExecutionDetails"]]

    def action(self, execution, name):
        """The newest run of an action in an execution, or nothing."""
        return next((one for one in self.actions(execution) if one["actionName"] == name), None)

    def stages(self):
        state = self.client.get_pipeline_state(name=self.name)
        return {stage["stageName"]: stage for stage in state["stageStates"]}

    def latest(self, stage, name):
        found = [one for one in self.stages()[stage]["actionStates"] if one["actionName"] == name]
        return found[0].get("latestExecution", {}) if found else {}

    def waiting(self, stage="Approve", name="Ask", execution=None):
        """The token of an approval, once it waits (for a given execution)."""
        def look():
            now = self.stages()[stage]
            at = now.get("latestExecution", {}).get("pipelineExecutionId")
            latest = next(one.get("latestExecution", {}) for one in now["actionStates"] if one["actionName"] == name)
            return latest.get("token") if execution in (None, at) and latest.get("status") == "InProgress" else None
        return wait_for(look, f"{self.name}/{stage}/{name} waits")

    def answer(self, status="Approved", stage="Approve", name="Ask", token=None, summary="looked at it", execution=None):
        token = token or self.waiting(stage, name, execution)
        return self.client.put_approval_result(
            pipelineName=self.name, stageName=stage, actionName=name, token=token,
            result={"status": status, "summary": summary})


class Builds:
    def __init__(self, account):
        self.account = account
        self.client = account.codebuild

    def start(self, project, **more):
        return self.client.start_build(projectName=project, **more)["build"]["id"]

    def get(self, build):
        return self.client.batch_get_builds(ids=[build])["builds"][0]

    def wait(self, build, status="SUCCEEDED", timeout=60):
        ended = lambda: (found := self.get(build))["buildComplete"] and found
        found = wait_for(ended, f"{build} ends", timeout=timeout)
        if found["buildStatus"] != status:
            phases = [(one["phaseType"], one.get("phaseStatus"), one.get("contexts")) for one in found["phases"]]
            raise AssertionError(f"{build} is {found['buildStatus']}, not {status}: {phases}\n{self.log(build)}")
        return found

    def run(self, project, status="SUCCEEDED", **more):
        return self.wait(self.start(project, **more), status)

    def lines(self, build):
        logs = self.get(build).get("logs", {})
        if "streamName" not in logs:
            return []
        client, found, token = self.account.logs, [], {}
        while True:
            try:
                page = client.get_log_events(logGroupName=logs["groupName"], logStreamName=logs["streamName"],
                                             startFromHead=True, **token)
            except client.exceptions.ResourceNotFoundException:
                return []  # named, and not yet begun
            found += [event["message"].rstrip("\n") for event in page["events"]]
            if token.get("nextToken") == page["nextForwardToken"]:
                return found
            token = {"nextToken": page["nextForwardToken"]}

    def log(self, build):
        return "\n".join(self.lines(build))


def phases_of(build):
    return {one["phaseType"]: one.get("phaseStatus") for one in build["phases"]}


class Fleet:
    """Isolated hosts of one test, and an application that is deployed on them."""

    def __init__(self, account, bucket=None):
        self.account = account
        self.server = account.server
        self.client = account.codedeploy
        self.names = []
        self.application = f"{account.name}-app"
        self.client.create_application(applicationName=self.application, computePlatform="Server")
        self.role = account.role("codedeploy")
        self.revisions = bucket or account.bucket("revisions")

    def host(self, suffix, **tags):
        name = f"{self.account.name}-{suffix}"[-60:].lstrip("-")
        words = [word for key, value in tags.items() for word in ("--tag", f"{key}={value}")]
        self.server.towpath("host", "run", name, "--tag", f"fleet={self.account.name}", *words)
        self.names.append(name)
        return name

    def group(self, name="web", config="CodeDeployDefault.OneAtATime", tags=None, **more):
        tags = tags or {"fleet": self.account.name}
        filters = [{"Key": key, "Value": value, "Type": "KEY_AND_VALUE"} for key, value in tags.items()]
        if len(filters) == 1:
            more["onPremisesInstanceTagFilters"] = filters
        else:
            more["onPremisesTagSet"] = {"onPremisesTagSetList": [[one] for one in filters]}
        self.client.create_deployment_group(
            applicationName=self.application, deploymentGroupName=name, serviceRoleArn=self.role,
            deploymentConfigName=config, **more)
        return name

    def revision(self, archive, key="app.zip"):
        self.account.s3.put_object(Bucket=self.revisions, Key=key, Body=archive)
        location = {"bucket": self.revisions, "key": key, "bundleType": "zip"}
        return {"revisionType": "S3", "s3Location": location}

    def deploy(self, revision, group="web", **more):
        return self.client.create_deployment(
            applicationName=self.application, deploymentGroupName=group, revision=revision, **more)["deploymentId"]

    def get(self, deployment):
        return self.client.get_deployment(deploymentId=deployment)["deploymentInfo"]

    def wait(self, deployment, status="Succeeded", timeout=90):
        ended = lambda: (found := self.get(deployment))["status"] in ("Succeeded", "Failed", "Stopped") and found
        found = wait_for(ended, f"deployment {deployment} ends", timeout=timeout)
        if found["status"] != status:
            targets = json.dumps(list(self.targets(deployment).values()), default=str)
            raise AssertionError(f"{deployment} is {found['status']}, not {status}: {found.get('errorInformation')} {targets}")
        return found

    def targets(self, deployment):
        names = self.client.list_deployment_targets(deploymentId=deployment)["targetIds"]
        return {name: self.target(deployment, name) for name in names}

    def target(self, deployment, name):
        found = self.client.get_deployment_target(deploymentId=deployment, targetId=name)["deploymentTarget"]
        return found["instanceTarget"]

    def run(self, host, *command, check=True):
        done = self.server.towpath("host", "exec", host, "--", *command, check=False)
        assert not check or done.returncode == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip() if check else done

    def read(self, host, path):
        """The file's text; nothing where there is no file."""
        done = self.run(host, "cat", path, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def stop(self):
        if self.names:
            self.server.towpath("host", "stop", *self.names, check=False)


def events_of(target):
    return {one["lifecycleEventName"]: one for one in target["lifecycleEvents"]}
