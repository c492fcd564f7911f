"""What must hold when everything is over. Each check answers what is wrong, in words."""

import collections
import re
import subprocess

from .journey import COUNTED, HOOKS

# Of one subject, in order: what may follow what.
LEGAL = {
    None: {"STARTED"}, "STARTED": {"SUCCEEDED", "FAILED"}, "FAILED": {"RESUMED"}, "RESUMED": {"SUCCEEDED", "FAILED"},
    "SUCCEEDED": set(),
}
# A build of the dev profile on an idle machine stays below a third of this.
MAX_SERVER_KB = 400_000


class Verdict:
    def __init__(self, world, journey, ledger, watcher):
        self.world, self.journey, self.ledger, self.watcher = world, journey, ledger, watcher
        self.wrong = []
        # {deployment: {host: status}}
        self.told = {}

    def expect(self, holds, text):
        if not holds:
            self.wrong.append(text)

    def all(self):
        for check in (self.executions, self.events, self.builds, self.artifacts, self.deployments, self.hosts,
                      self.repository, self.acknowledged, self.memory):
            try:
                check()
            except Exception as error:  # a check that cannot be made is a failed check
                self.wrong.append(f"{check.__name__}: {error!r}")
        return self.wrong

    def actions(self, name):
        pages = self.journey.direct.codepipeline.get_paginator("list_action_executions").paginate(
            pipelineName=self.journey.pipeline)
        return [one for page in pages for one in page["actionExecutionDetails"] if one["actionName"] == name]

    def executions(self):
        found = self.journey.direct.codepipeline.list_pipeline_executions(pipelineName=self.journey.pipeline)
        found = list(reversed(found["pipelineExecutionSummaries"]))
        self.expect(len(found) == len(self.journey.commits), f"{len(found)} executions of {len(self.journey.commits)} pushes")
        states = [one["status"] for one in found]
        self.expect(set(states) == {"Succeeded"}, f"executions ended {states}")
        # With overlapping pushes the first execution may well have been started on the second commit.
        revisions = [one["sourceRevisions"][0]["revisionId"] for one in found]
        wanted = self.journey.commits
        overlap = self.world.plan.overlap
        self.expect(revisions == wanted or (overlap and revisions[-1] == wanted[-1]),
                    f"executions ran revisions {revisions}, pushed were {wanted}")
        asked = self.actions("Ask")
        self.expect(len(asked) == len(found), f"{len(asked)} approvals were asked for by {len(found)} executions")
        summaries = sorted(one["output"]["executionResult"].get("externalExecutionSummary", "") for one in asked)
        self.expect(summaries == [f"version {n + 1}" for n in range(len(found))], f"approvals say {summaries}")

    def events(self):
        """Changes of state come in a legal order, each once."""
        told = collections.defaultdict(list)
        for event in self.journey.direct.server.events():
            detail = event["detail"]
            keys = {
                "CodePipeline Pipeline Execution State Change": ("execution-id",),
                "CodePipeline Stage Execution State Change": ("execution-id", "stage"),
                "CodePipeline Action Execution State Change": ("action-execution-id",),
            }.get(event["detail-type"])
            if keys:
                told[tuple(detail[key] for key in keys)].append(detail["state"])
        for subject, states in told.items():
            before = None
            for state in states:
                if state not in LEGAL[before]:
                    self.wrong.append(f"events of {subject} say {states}")
                    break
                before = state
            self.expect(states[-1] in ("SUCCEEDED", "FAILED"), f"the last event of {subject} is {states[-1]}")
        executions = [states for subject, states in told.items() if len(subject) == 1 and states[-1] == "SUCCEEDED"]
        self.expect(len(executions) >= 2, f"the events tell of {len(executions)} ends")

    def builds(self):
        direct = self.journey.direct
        wanted = sorted(one["output"]["executionResult"]["externalExecutionId"] for one in self.actions("Build"))
        found = sorted(direct.codebuild.list_builds_for_project(projectName=self.journey.project)["ids"])
        self.expect(found == wanted, f"builds {found}, and the actions' are {wanted}")
        ends = collections.Counter(
            event["detail"]["build-id"].rsplit("/", 1)[-1] for event in direct.server.events("aws.codebuild")
            if event["detail-type"] == "CodeBuild Build State Change"
            and event["detail"]["build-status"] != "IN_PROGRESS")
        self.expect(all(ends[build] == 1 for build in found), f"builds ended so often: {dict(ends)}")
        for build in direct.codebuild.batch_get_builds(ids=found)["builds"]:
            if build["buildStatus"] != "SUCCEEDED":
                self.expect(self.world.plan.has("disk"), f"{build['id']} is {build['buildStatus']}")
                continue
            kinds = [phase["phaseType"] for phase in build["phases"]]
            self.expect(len(kinds) == len(set(kinds)), f"{build['id']} has phases {kinds}")
            self.expect(all(phase.get("phaseStatus", "SUCCEEDED") == "SUCCEEDED" for phase in build["phases"]),
                        f"{build['id']}'s phases did not all succeed")
            reports = direct.codebuild.batch_get_reports(reportArns=build["reportArns"])["reports"]
            totals = [report["testSummary"]["total"] for report in reports]
            self.expect(totals == [3], f"{build['id']} reported {totals} tests")
            self.log(build)

    def log(self, build):
        """Of the attempt that counts, the log tells each line once."""
        logs = self.journey.direct.logs
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=build["logs"]["groupName"], logStreamNames=[build["logs"]["streamName"]])
        lines = [event["message"].strip() for page in pages for event in page["events"]]
        ran = lines.count("the suite ran 3 tests")
        # An attempt that died after its suite had run has told of it already.
        most = 1 + sum(kind in ("kill", "stop", "runner", "disk", "database") for kind in self.world.plan.kinds())
        self.expect(1 <= ran <= most, f"{build['id']}'s log tells {ran} times that the suite ran: {lines[-20:]}")

    def artifacts(self):
        found = self.journey.direct.s3.list_object_versions(Bucket=self.journey.store).get("Versions", [])
        keys = [one["Key"] for one in found]
        self.expect(len(keys) == len(set(keys)), f"artifacts were stored more than once: {keys}")
        wanted = sum(one["status"] == "Succeeded" for one in self.actions("Source") + self.actions("Build"))
        self.expect(len(keys) == wanted, f"{len(keys)} artifacts of {wanted} actions: {keys}")

    def deployments(self):
        direct = self.journey.direct
        found = direct.codedeploy.list_deployments(
            applicationName=self.journey.application, deploymentGroupName=self.journey.group)["deployments"]
        wanted = [one["output"]["executionResult"]["externalExecutionId"] for one in self.actions("Deploy")]
        wanted += [self.journey.redeployed] if self.journey.redeployed else []
        self.expect(sorted(found) == sorted(wanted), f"deployments {found}, and the actions' are {wanted}")
        failures = 0
        for deployment in found:
            info = direct.codedeploy.get_deployment(deploymentId=deployment)["deploymentInfo"]
            self.expect(info["status"] == "Succeeded" or "Deploy" in self.journey.retried,
                        f"{deployment} is {info['status']}: {info.get('errorInformation')}")
            told = [event["detail"]["state"] for event in direct.server.events("aws.codedeploy")
                    if event["detail"].get("deploymentId") == deployment and "instanceId" not in event["detail"]]
            end = {"Succeeded": "SUCCESS", "Failed": "FAILURE"}[info["status"]]
            self.expect(told == ["START", end], f"the events of {deployment} say {told}")
            self.told[deployment] = self.journey.targets(deployment)
            failures += sum(status == "Failed" for status in self.told[deployment].values())
        killed = self.world.plan.kinds().count("agent")
        self.expect(failures <= killed, f"{killed} agents were killed, and so hosts failed: {self.told}")
        self.expect(self.watcher.down <= 1, f"{self.watcher.down} hosts were taken at once")

    def hosts(self):
        """Every script ran once per deployment and host; one host at a time was out of service."""
        spans = []
        for host in self.world.hosts.values():
            self.expect(host.read("/opt/app/built") == "2", f"{host.name} runs version {host.read('/opt/app/built')!r}")
            ran = collections.defaultdict(list)
            for line in host.read(COUNTED).splitlines():
                deployment, event, what, at = line.split()
                ran[deployment].append((event, what, float(at)))
            for deployment, targets in self.told.items():
                status = targets[host.name]
                lines = [(event, what) for event, what, _ in ran[deployment]]
                whole = [(event, what) for event in HOOKS for what in ("begin", "end")]
                self.expect(len(lines) == len(set(lines)) and lines == whole[:len(lines)],
                            f"{host.name} ran {lines} for {deployment}")
                self.expect(lines == whole or status != "Succeeded", f"{host.name} ran only {lines} for {deployment}")
                if lines:
                    spans.append((ran[deployment][0][2], ran[deployment][-1][2], host.name))
        spans.sort()
        for (_, end, one), (begin, _, two) in zip(spans, spans[1:]):
            self.expect(one == two or begin >= end - 0.02, f"{one} and {two} were out of service at once")

    def repository(self):
        direct = self.journey.direct
        tip = direct.git(self.journey.folder, "ls-remote", "origin", "main").stdout.split()
        self.expect(tip and tip[0] == self.journey.commits[-1], f"the branch is at {tip}, pushed was {self.journey.commits[-1]}")
        bares = [path.parent for path in (self.world.server.data / "codecommit").rglob("HEAD")
                 if (path.parent / "objects").is_dir()]
        # The team's repository and the writers'.
        self.expect(len(bares) == 2, f"the server has the repositories {bares}")
        url = direct.git(self.journey.folder, "remote", "get-url", "origin").stdout.strip()
        copy = direct.checkout(self.world.folder / "copy", url, direct.git_user())
        direct.git(copy, "fetch", "-q", "origin")
        for bare in [*bares, copy]:
            done = subprocess.run(["git", "-C", bare, "fsck", "--strict", "--no-dangling"],
                                  capture_output=True, text=True, check=False)
            self.expect(done.returncode == 0, f"git fsck {bare}: {done.stdout}{done.stderr}")

    def acknowledged(self):
        self.wrong += [f"acknowledged and lost: {one}" for one in self.ledger.check(self.journey.direct)]
        least = {kind: len(done) for kind, done in self.ledger.done.items()}
        self.expect(all(least.values()), f"so few writes were acknowledged: {least}")

    def memory(self):
        status = open(f"/proc/{self.world.server.process.pid}/status").read()
        peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])
        self.expect(peak < MAX_SERVER_KB, f"the server had {peak} kB of memory")
