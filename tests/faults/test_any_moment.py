"""A whole delivery while the server dies again and again, at moments that nobody chose."""

import os
import random
import time

import pytest
from accounts import action, zipped
from footprint import Footprint, swept
from server import wait_for
from test_kill import buildspec, ended_events, executions, source, versions
from watch import Fleet

SEEDS = [int(seed) for seed in os.environ.get("TOWPATH_FAULT_SEEDS", "1,2").split(",")]
HOOK = "#!/bin/sh\necho $DEPLOYMENT_ID $LIFECYCLE_EVENT >> /var/tmp/hooks\nsleep 0.2\n"
HOOKS = ["BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"]


def delivery(team, fleet, tmp_path):
    """A project, a repository, and Source → Build → Deploy on two hosts; answers what a test looks at."""
    repository, url = team.repository()
    folder = team.checkout(str(tmp_path / "work"), url, team.git_user())
    hooks = "".join(f"  {hook}:\n    - location: hook.sh\n      timeout: 60\n" for hook in HOOKS)
    team.commit(folder, {
        "hook.sh": HOOK, "version": "0",
        "appspec.yml": "version: 0.0\nos: linux\nfiles:\n  - source: version\n    destination: /opt/app\n"
                       f"file_exists_behavior: OVERWRITE\nhooks:\n{hooks}",
        "buildspec.yml": buildspec("echo building", "sleep 0.5", artifact='"**/*"')})
    team.git(folder, "push", "-q", "origin", "main")
    store = team.bucket("store")
    team.s3.put_bucket_versioning(Bucket=store, VersioningConfiguration={"Status": "Enabled"})
    project = team.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    group = fleet.group()
    pipeline = team.pipeline([
        ("Source", [source(repository)]),
        ("Build", [action("Build", "Build", "CodeBuild", {"ProjectName": project}, ["source"], ["built"])]),
        ("Deploy", [action("Deploy", "Deploy", "CodeDeploy", {
            "ApplicationName": fleet.application, "DeploymentGroupName": group}, ["built"])]),
    ], bucket=store, executionMode="QUEUED")
    return folder, store, project, group, pipeline


def failures(team, pipeline):
    """What went wrong, for the reader of a failed test."""
    found = team.codepipeline.list_action_executions(pipelineName=pipeline)["actionExecutionDetails"]
    return [(one["actionName"], one["output"].get("executionResult")) for one in found if one["status"] == "Failed"]


def over(team, pipeline, count):
    found = executions(team, pipeline)
    return len(found) >= count and all(one["status"] not in ("InProgress", "Stopping") for one in found) and found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_delivery_ends_right_whenever_the_server_dies(server, team, tmp_path, seed):
    chance = random.Random(seed)
    fleet = Fleet(team)
    hosts = [fleet.host("one"), fleet.host("two")]
    folder, store, project, group, pipeline = delivery(team, fleet, tmp_path)
    deaths = 0
    for version in (1, 2):
        team.commit(folder, {"version": str(version)}, f"version {version}")
        team.git(folder, "push", "-q", "origin", "main")
        # A build that was begun five times is given up: whose server dies so often may be its victim.
        for _ in range(4):
            time.sleep(chance.uniform(0, 1.2))
            before = Footprint(server)
            server.kill()
            before.is_gone()
            server.start()
            deaths += 1
        wait_for(lambda: over(team, pipeline, version + 1), "the execution is over", timeout=120)
    found = executions(team, pipeline)
    assert [one["status"] for one in found] == ["Succeeded"] * 3, (deaths, failures(team, pipeline))
    builds = team.codebuild.list_builds_for_project(projectName=project)["ids"]
    assert len(builds) == 3 and all(ended_events(server, build) == ["SUCCEEDED"] for build in builds)
    deployments = team.codedeploy.list_deployments(applicationName=fleet.application,
                                                   deploymentGroupName=group)["deployments"]
    assert len(deployments) == 3
    for host in hosts:
        assert fleet.read(host, "/opt/app/version") == "2"
        told = fleet.read(host, "/var/tmp/hooks").splitlines()
        for deployment in deployments:
            ran = [line.split()[1] for line in told if line.startswith(deployment)]
            assert ran == HOOKS, (deployment, ran)
    stored = versions(team, store)
    assert len(stored) == len(set(stored)) == 6, "a source and a build output per execution, each written once"
    fleet.stop()
    swept(server)
