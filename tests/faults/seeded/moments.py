"""The points in time that a plan's faults wait for. A watcher sees them from outside, by the public API."""

import threading
import time

from botocore.exceptions import BotoCoreError, ClientError

from .plan import MOMENTS

LOOK_S = 0.02


class Moments:
    def __init__(self, say):
        self.say = say
        self.over = threading.Event()
        self.guard = threading.Lock()
        self.reached = {}

    def event(self, execution, moment):
        with self.guard:
            return self.reached.setdefault((execution, moment), threading.Event())

    def reach(self, execution, moment):
        """Those before it have passed, too, even where nobody saw them."""
        for one in MOMENTS[:MOMENTS.index(moment) + 1]:
            event = self.event(execution, one)
            if not event.is_set():
                self.say(f"execution {execution}: {one}")
                event.set()

    def wait(self, execution, moment):
        """Whether the moment came before the journey was over."""
        event = self.event(execution, moment)
        while not event.wait(0.02):
            if self.over.is_set():
                return event.is_set()
        return True


class Watcher(threading.Thread):
    """Looks at the pipeline until the journey is over. What it cannot see, it does not wait for."""

    def __init__(self, moments, server, pipeline, group):
        super().__init__(daemon=True)
        self.moments = moments
        quick = {"connect_timeout": 1, "read_timeout": 2, "retries": {"total_max_attempts": 1}}
        self.pipelines = server.client("codepipeline", **quick)
        self.builds = server.client("codebuild", **quick)
        self.deployments = server.client("codedeploy", **quick)
        self.pipeline, self.group = pipeline, group
        self.numbers = {}
        # The most hosts that were seen out of service at once.
        self.down = 0

    def run(self):
        while not self.moments.over.wait(LOOK_S):
            try:
                self.look()
            except (BotoCoreError, ClientError, KeyError, IndexError):
                time.sleep(LOOK_S)

    def number(self, execution):
        if execution not in self.numbers:
            found = self.pipelines.list_pipeline_executions(pipelineName=self.pipeline)["pipelineExecutionSummaries"]
            found = [one["pipelineExecutionId"] for one in reversed(found)]
            self.numbers = {one: index + 1 for index, one in enumerate(found)}
        return self.numbers[execution]

    def look(self):
        for stage in self.pipelines.get_pipeline_state(name=self.pipeline)["stageStates"]:
            if "latestExecution" not in stage:
                continue
            number = self.number(stage["latestExecution"]["pipelineExecutionId"])
            latest = stage["actionStates"][0].get("latestExecution", {})
            if latest.get("status") == "InProgress":
                getattr(self, f"look_at_{stage['stageName'].lower()}")(number, latest)

    def look_at_source(self, number, _):
        self.moments.reach(number, "source")

    def look_at_build(self, number, latest):
        self.moments.reach(number, "build")
        build = self.builds.batch_get_builds(ids=[latest["externalExecutionId"]])["builds"][0]
        if build["currentPhase"] == "BUILD":
            self.moments.reach(number, "building")
        if build["currentPhase"] in ("POST_BUILD", "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED"):
            self.moments.reach(number, "staging")

    def look_at_approve(self, number, latest):
        self.moments.reach(number, "staging")
        if "token" in latest:
            self.moments.reach(number, "asked")

    def look_at_deploy(self, number, latest):
        self.moments.reach(number, "deploying")
        deployment = latest["externalExecutionId"]
        names = self.deployments.list_deployment_targets(deploymentId=deployment)["targetIds"]
        found = self.deployments.batch_get_deployment_targets(deploymentId=deployment, targetIds=names)
        targets = [one["instanceTarget"] for one in found["deploymentTargets"]]
        ended = [one for one in targets if one["status"] in ("Succeeded", "Failed")]
        begun = [one for one in targets if any(
            event["lifecycleEventName"] == "BeforeInstall" and event["status"] != "Pending"
            for event in one["lifecycleEvents"])]
        # Targets are read one by one; this is one record.
        info = self.deployments.get_deployment(deploymentId=deployment)["deploymentInfo"]
        self.down = max(self.down, info.get("deploymentOverview", {}).get("InProgress", 0))
        if begun:
            self.moments.reach(number, "hook")
        if ended:
            self.moments.reach(number, "between")
        if len(begun) > 1:
            self.moments.reach(number, "second")
