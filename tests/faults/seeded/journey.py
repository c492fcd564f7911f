"""What a team does in a run: it sets itself up, pushes twice, approves, and retries what a machine's death broke."""

import contextlib
import subprocess
import time

from accounts import Account, action
from server import Server, wait_for

from .ledger import ALREADY, Hopeless, insist

# What is due to anybody's death comes within a few of the longest waits: a minute for an agent's silence, and the
# lease of a node that died, twenty seconds.
PATIENCE_S = {"sqlite": 120, "postgres": 240}
HOOKS = ["BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"]
COUNTED = "/var/tmp/hooks"
HOOK = f"""#!/bin/sh
tell() {{ read -r up rest < /proc/uptime; echo "$DEPLOYMENT_ID $LIFECYCLE_EVENT $1 $up" >> {COUNTED}; }}
tell begin
sleep 0.1
test "$LIFECYCLE_EVENT" != ValidateService || cmp /opt/app/built /opt/app/version || exit 1
tell end
"""
TESTS = '''"""A tiny suite that reports as JUnit does."""
import pathlib, time, unittest
class Tests(unittest.TestCase):
    def test_number(self):
        self.assertTrue(pathlib.Path("version").read_text().strip().isdigit())
    def test_slowly(self):
        time.sleep(0.4)
    def test_built(self):
        self.assertEqual(pathlib.Path("built").read_text(), pathlib.Path("version").read_text())
result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(Tests))
cases = "".join(f'<testcase classname="Tests" name="{name}" time="0.1"/>' for name in ("number", "slowly", "built"))
bad = len(result.failures) + len(result.errors)
pathlib.Path("junit.xml").write_text(f'<testsuite name="Tests" tests="3" failures="{bad}">{cases}</testsuite>')
print("the suite ran", result.testsRun, "tests")
raise SystemExit(not result.wasSuccessful())
'''
FILES = {
    "suite.py": TESTS, "hook.sh": HOOK,
    "buildspec.yml": "version: 0.2\nphases:\n  build:\n    commands:\n      - cp version built\n"
                     "      - python3 suite.py\nreports:\n  tests:\n    files: [junit.xml]\n"
                     "    file-format: JUNITXML\nartifacts:\n  files: ['**/*']\n",
    "appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - source: built\n    destination: /opt/app\n"
                   "  - source: version\n    destination: /opt/app\nfile_exists_behavior: OVERWRITE\nhooks:\n"
                   + "".join(f"  {hook}:\n    - location: hook.sh\n      timeout: 60\n" for hook in HOOKS),
}


class Front(Server):
    """The server as clients reach it, with an SDK's usual patience."""

    def __init__(self, server, url):
        self.__dict__.update(server.__dict__)
        self.url, self.clients = url, {}

    def client(self, service, keys=None, token=None, **config):
        usual = {"retries": {"mode": "standard", "max_attempts": 4}, "connect_timeout": 3, "read_timeout": 15}
        return super().client(service, keys, token, **(usual | config))


class Journey:
    def __init__(self, world, moments, say):
        self.world, self.moments, self.say = world, moments, say
        self.commits = []
        self.retried = []
        # The deployment that a person made because a host had failed in a successful one.
        self.redeployed = None
        self.ids = []
        self.answered = set()
        self.begun = time.monotonic()
        self.patience_s = PATIENCE_S[world.plan.store]

    def deadline(self):
        return self.begun + self.patience_s

    def insist(self, call, already=()):
        return insist(call, self.deadline, already)

    # ---- before anything goes wrong --------------------------------------------------------------

    def prepare(self):
        direct = Account(self.world.server, f"s{self.world.plan.seed}")
        self.direct = direct
        repository, url = direct.repository()
        self.repository = repository
        self.folder = str(self.world.folder / "work")
        direct.checkout(self.folder, url, direct.git_user())
        self.commits.append(direct.commit(self.folder, FILES | {"version": "1"}))
        direct.git(self.folder, "push", "-q", "origin", "main")
        direct.git(self.folder, "remote", "set-url", "origin", url.replace(self.world.server.url, self.world.proxy.url))
        self.store = direct.bucket("store")
        direct.s3.put_bucket_versioning(Bucket=self.store, VersioningConfiguration={"Status": "Enabled"})
        self.project = direct.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
        self.application, self.group = f"{direct.name}-app", "web"
        direct.codedeploy.create_application(applicationName=self.application, computePlatform="Server")
        direct.codedeploy.create_deployment_group(
            applicationName=self.application, deploymentGroupName=self.group, serviceRoleArn=direct.role("codedeploy"),
            deploymentConfigName="CodeDeployDefault.OneAtATime",
            onPremisesInstanceTagFilters=[{"Key": "fleet", "Value": direct.name, "Type": "KEY_AND_VALUE"}])
        self.pipeline, self.role = f"{direct.name}-pipe", direct.role("codepipeline")
        for name in ("one", "two"):
            self.world.host(f"{direct.name}-{name}", f"fleet={direct.name}")
        self.account = Account(Front(self.world.server, self.world.proxy.url))
        self.account.name = direct.name

    def stages(self):
        return [
            ("Source", action("Source", "Source", "CodeCommit", {
                "RepositoryName": self.repository, "BranchName": "main"}, outputs=["source"])),
            ("Build", action("Build", "Build", "CodeBuild", {"ProjectName": self.project}, ["source"], ["built"])),
            ("Approve", action("Ask", "Approval", "Manual")),
            ("Deploy", action("Deploy", "Deploy", "CodeDeploy", {
                "ApplicationName": self.application, "DeploymentGroupName": self.group}, ["built"])),
        ]

    # ---- while things go wrong -------------------------------------------------------------------

    def run(self):
        self.begun = time.monotonic()
        self.moments.reach(1, "pushing")
        self.insist(lambda: self.account.pipeline(
            [(name, [one]) for name, one in self.stages()], role=self.role, bucket=self.store,
            executionMode="QUEUED"), {"PipelineNameInUseException"})
        self.moments.reach(1, "pushed")
        if not self.world.plan.overlap:
            self.see_through(1)
        self.push(2)
        if self.world.plan.overlap:
            self.see_through(1)
        self.see_through(2)

    def push(self, version):
        self.commits.append(self.direct.commit(self.folder, {"version": str(version)}, f"version {version}"))
        self.moments.reach(version, "pushing")

        def pushed():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return subprocess.run(["git", "push", "-q", "origin", "main"], cwd=self.folder, timeout=20,
                                      env=self.account.server.env(), capture_output=True, check=False).returncode == 0
        wait_for(pushed, "the push is acknowledged", timeout=self.patience_s, every=0.1)
        self.say(f"push of version {version} acknowledged")
        self.moments.reach(version, "pushed")

    def executions(self):
        """The ids, oldest first."""
        found = self.insist(lambda: self.account.codepipeline.list_pipeline_executions(pipelineName=self.pipeline))
        return [one["pipelineExecutionId"] for one in reversed(found["pipelineExecutionSummaries"])]

    def see_through(self, number):
        """Approves when asked, retries what may fail, until the execution succeeded."""
        found = wait_for(lambda: len(all := self.executions()) >= number and all, f"execution {number}",
                         timeout=self.patience_s)
        execution = found[number - 1]
        pipelines = self.account.codepipeline
        while True:
            status = self.insist(lambda: pipelines.get_pipeline_execution(
                pipelineName=self.pipeline, pipelineExecutionId=execution))["pipelineExecution"]["status"]
            if status == "Succeeded":
                self.say(f"execution {number} succeeded")
                return
            if status == "Failed":
                self.retry(number, execution)
            assert status in ("InProgress", "Failed"), f"execution {number} is {status}"
            self.approve(number, execution)
            if time.monotonic() > self.deadline():
                raise AssertionError(f"execution {number} is still {status} after {self.patience_s} s")
            time.sleep(0.03)

    def approve(self, number, execution):
        pipelines = self.account.codepipeline
        state = self.insist(lambda: pipelines.get_pipeline_state(name=self.pipeline))
        stage = next(one for one in state["stageStates"] if one["stageName"] == "Approve")
        latest = stage["actionStates"][0].get("latestExecution", {})
        asked = stage.get("latestExecution", {}).get("pipelineExecutionId") == execution
        token = latest.get("token") if asked and latest.get("status") == "InProgress" else None
        if token is None or token in self.answered:
            return
        self.moments.reach(number, "asked")
        self.moments.reach(number, "approving")
        self.insist(lambda: pipelines.put_approval_result(
            pipelineName=self.pipeline, stageName="Approve", actionName="Ask", token=token,
            result={"status": "Approved", "summary": f"version {number}"}), ALREADY)
        self.answered.add(token)
        self.say(f"execution {number} approved")
        self.moments.reach(number, "approved")

    def retry(self, number, execution):
        """What a person does about a failure that nobody could prevent; any other ends the run."""
        actions = self.insist(lambda: self.account.codepipeline.list_action_executions(
            pipelineName=self.pipeline, filter={"pipelineExecutionId": execution}))["actionExecutionDetails"]
        failed = next(one for one in actions if one["status"] == "Failed")
        result = failed.get("output", {}).get("executionResult", {})
        self.say(f"execution {number}: {failed['actionName']} failed: {result}")
        excused = sum(fault == self.excuse(failed) for fault in self.world.plan.kinds())
        already = sum(one == failed["stageName"] for one in self.retried)
        if already >= excused:
            raise AssertionError(f"execution {number} failed in {failed['stageName']}: {result}")
        self.retried.append(failed["stageName"])
        try:
            self.insist(lambda: self.account.codepipeline.retry_stage_execution(
                pipelineName=self.pipeline, stageName=failed["stageName"], pipelineExecutionId=execution,
                retryMode="FAILED_ACTIONS"), {"StageNotRetryableException"})
        except Hopeless as error:
            if "NotLatest" not in str(error):
                raise
            raise AssertionError(f"a newer execution came past the failed one: {error}") from error

    def again(self):
        """Deploys again where the last host failed: one at a time, that leaves the deployment successful.

        See <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_MinimumHealthyHosts.html>.
        """
        deploy = self.direct.codedeploy
        names = {"applicationName": self.application, "deploymentGroupName": self.group}
        last = deploy.get_deployment_group(**names)["deploymentGroupInfo"]["lastSuccessfulDeployment"]["deploymentId"]
        if "Failed" not in self.targets(last).values():
            return
        revision = deploy.get_deployment(deploymentId=last)["deploymentInfo"]["revision"]
        self.redeployed = deploy.create_deployment(**names, revision=revision)["deploymentId"]
        self.retried.append("host")
        self.say("a host is deployed to again")
        deploy.get_waiter("deployment_successful").wait(
            deploymentId=self.redeployed, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})

    def targets(self, deployment):
        """{host: status} of a deployment."""
        deploy = self.direct.codedeploy
        names = deploy.list_deployment_targets(deploymentId=deployment)["targetIds"]
        found = deploy.batch_get_deployment_targets(deploymentId=deployment, targetIds=names)["deploymentTargets"]
        return {one["instanceTarget"]["targetId"]: one["instanceTarget"]["status"] for one in found}

    @staticmethod
    def excuse(failed):
        """The kind of fault that may make an action fail; see docs/faults.md."""
        return {"Deploy": "agent", "Build": "disk"}.get(failed["stageName"])
