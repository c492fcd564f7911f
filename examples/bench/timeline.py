"""Where the time of one journey went, from the recorded events, the build's phases and the deployment's targets."""

from report import spread

PIPELINE = "CodePipeline Pipeline Execution State Change"
ACTION = "CodePipeline Action Execution State Change"


def is_action(event, category, state):
    detail = event["detail"]
    return event["detail-type"] == ACTION and detail["type"]["category"] == category and detail["state"] == state


def is_waiting(event):
    if event["detail-type"] == PIPELINE and event["detail"]["state"] == "FAILED":
        raise SystemExit(f"the pipeline failed: {event}")
    return is_action(event, "Approval", "STARTED")


def has_ended(event):
    return event["detail-type"] == PIPELINE and event["detail"]["state"] in ("SUCCEEDED", "FAILED", "STOPPED")


def is_over(event):
    if not has_ended(event):
        return False
    if event["detail"]["state"] != "SUCCEEDED":
        raise SystemExit(f"the pipeline did not succeed: {event}")
    return True


class Timeline:
    def __init__(self, started):
        self.started = started
        self.pushed = self.answered = None
        self.at, self.build, self.hosts, self.build_id, self.deployment_id = {}, {}, [], None, None

    def read(self, events):
        for at, event in events:
            detail = event["detail"]
            if event["detail-type"] == ACTION:
                self.at[detail["type"]["category"], detail["state"]] = at
                external = (detail.get("execution-result") or {}).get("external-execution-id")
                if external and detail["type"]["category"] == "Build":
                    self.build_id = external
                if external and detail["type"]["category"] == "Deploy":
                    self.deployment_id = external
            elif event["detail-type"] == PIPELINE:
                self.at["Pipeline", detail["state"]] = at

    def read_build(self, codebuild):
        build = codebuild.batch_get_builds(ids=[self.build_id])["builds"][0]
        for phase in build["phases"]:
            if "endTime" in phase:
                self.build[phase["phaseType"]] = (phase["startTime"].timestamp(), phase["endTime"].timestamp())

    def read_deployment(self, codedeploy):
        targets = codedeploy.list_deployment_targets(deploymentId=self.deployment_id)["targetIds"]
        for target in targets:
            found = codedeploy.get_deployment_target(deploymentId=self.deployment_id, targetId=target)
            events = found["deploymentTarget"]["instanceTarget"]["lifecycleEvents"]
            ran = [event for event in events if "endTime" in event]
            self.hosts.append((ran[0]["startTime"].timestamp(), ran[-1]["endTime"].timestamp()))
        self.hosts.sort()

    @property
    def total(self):
        return self.at["Pipeline", "SUCCEEDED"] - self.started

    def phases(self):
        """{phase: seconds}, one after the other without gaps, from the push to the pipeline's end."""
        at, build = self.at, self.build
        marks = [
            ("push acknowledged", self.pushed),
            ("execution started", at["Pipeline", "STARTED"]),
            ("source stored", at["Source", "SUCCEEDED"]),
            ("build started", at["Build", "STARTED"]),
            ("build provisioned", build["PROVISIONING"][1]),
            ("source unpacked", build["DOWNLOAD_SOURCE"][1]),
            ("install commands", build["INSTALL"][1]),
            ("build commands", build["POST_BUILD"][1]),
            ("artifacts and reports", build["UPLOAD_ARTIFACTS"][1]),
            ("build finished", at["Build", "SUCCEEDED"]),
        ]
        if self.answered:
            marks += [("approval asked for", at["Approval", "STARTED"]), ("approval given", at["Approval", "SUCCEEDED"])]
        marks.append(("deployment handed out", self.hosts[0][0]))
        for number, (start, end) in enumerate(self.hosts, 1):
            if number > 1:
                marks.append((f"gap before host {number}", start))
            marks.append((f"host {number}", end))
        marks.append(("pipeline finished", at["Pipeline", "SUCCEEDED"]))
        result, before = {}, self.started
        for name, moment in marks:
            result[name] = moment - before
            before = moment
        return result


# Which of the script's steps does what a phase does; the other phases are ours alone.
SAME_STEP = {"push acknowledged": "push", "source unpacked": "source", "install commands": "install",
             "build commands": "build", "artifacts and reports": "artifacts"}


def side_by_side(lines, scripts):
    rows, phases = [], [line.phases() for line in lines]
    for name in phases[0]:
        theirs = ""
        if name in SAME_STEP:
            theirs = spread([script[SAME_STEP[name]] for script in scripts], 3)
        elif name in ("host 1", "host 2"):
            theirs = spread([script["deploy"][int(name[-1]) - 1] for script in scripts], 3)
        rows.append([name, spread([phase[name] for phase in phases], 3), theirs])
    rows.append(["total", spread([line.total for line in lines], 3), spread([script["total"] for script in scripts], 3)])
    return rows
