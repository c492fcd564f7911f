"""kill -9 of the server, or of an agent, during a deployment: every script of a host runs once per deployment."""

import pytest
from accounts import zipped
from server import wait_for
from watch import Fleet, events_of

HOOKS = ["ApplicationStop", "BeforeInstall", "AfterInstall", "ApplicationStart", "ValidateService"]
COUNTED = "/var/tmp/hooks"


def revision(version, waits_in=None):
    return zipped(revision_files(version, waits_in))


def revision_files(version, waits_in=None):
    """Each script writes a line; the one in `waits_in` then waits for /var/tmp/go on its host."""
    hooks = "".join(f"  {hook}:\n    - location: {hook}.sh\n      timeout: 120\n" for hook in HOOKS)
    files = {"appspec.yml": f"version: 0.0\nos: linux\nfiles:\n  - source: version\n    destination: /opt/app\n"
                            f"file_exists_behavior: OVERWRITE\nhooks:\n{hooks}", "version": version}
    for hook in HOOKS:
        wait = "echo begun\nwhile [ ! -e /var/tmp/go ]; do sleep 0.05; done\n" if hook == waits_in else ""
        files[f"{hook}.sh"] = (f"#!/bin/sh\necho $DEPLOYMENT_ID {hook} >> {COUNTED}\n{wait}"
                               f"echo $DEPLOYMENT_ID {hook} done >> {COUNTED}\n")
    return files


@pytest.fixture
def fleet(team):
    fleet = Fleet(team)
    fleet.one, fleet.two = fleet.host("one"), fleet.host("two")
    yield fleet
    fleet.stop()


def lines(fleet, host, deployment):
    told = (fleet.read(host, COUNTED) or "").splitlines()
    return [line.split(" ", 1)[1] for line in told if line.startswith(deployment)]


def whole(*hooks):
    return [line for hook in hooks for line in (hook, f"{hook} done")]


def first_in_hook(fleet, deployment, hook):
    """The host that is in the middle of the hook, and the other."""
    def found():
        return next((host for host in fleet.names if lines(fleet, host, deployment)[-1:] == [hook]), None)
    host = wait_for(found, f"a host runs {hook}")
    return host, next(name for name in fleet.names if name != host)


FIRST_TIME = whole(*HOOKS[1:])  # there is nothing to stop yet


@pytest.mark.parametrize("deaths", [1, 4])
def test_a_deployment_goes_on_after_the_server_died(server, team, fleet, deaths):
    group = fleet.group()
    deployment = fleet.deploy(fleet.revision(revision("1", waits_in="AfterInstall")), group)
    host, other = first_in_hook(fleet, deployment, "AfterInstall")
    for _ in range(deaths):
        server.restart()
    assert lines(fleet, other, deployment) == [], "one host at a time"
    fleet.run(host, "touch", "/var/tmp/go")
    fleet.run(other, "touch", "/var/tmp/go")
    fleet.wait(deployment)
    for name in fleet.names:
        assert lines(fleet, name, deployment) == FIRST_TIME
        assert fleet.read(name, "/opt/app/version") == "1"
        assert {event["status"] for event in events_of(fleet.target(deployment, name)).values()} == {"Succeeded"}
    ended = [event["detail"]["state"] for event in server.events("aws.codedeploy")
             if event["detail-type"] == "CodeDeploy Deployment State-change Notification"
             and event["detail"]["deploymentId"] == deployment]
    assert ended == ["START", "SUCCESS"], ended


def test_a_script_that_ended_while_the_server_was_dead_is_not_run_again(server, team, fleet):
    group = fleet.group()
    deployment = fleet.deploy(fleet.revision(revision("1", waits_in="ApplicationStart")), group)
    host, other = first_in_hook(fleet, deployment, "ApplicationStart")
    server.kill()
    for name in fleet.names:
        fleet.run(name, "touch", "/var/tmp/go")
    wait_for(lambda: lines(fleet, host, deployment)[-1:] == ["ApplicationStart done"], "the script ended by itself")
    server.start()
    fleet.wait(deployment)
    assert lines(fleet, host, deployment) == lines(fleet, other, deployment) == FIRST_TIME


def test_an_agent_that_died_in_a_script_fails_its_host_and_runs_nothing_twice(server, team, fleet):
    group = fleet.group()
    good = fleet.deploy(fleet.revision(revision("1"), "one.zip"), group)
    fleet.wait(good)
    deployment = fleet.deploy(fleet.revision(revision("2", waits_in="AfterInstall"), "two.zip"), group)
    host, other = first_in_hook(fleet, deployment, "AfterInstall")
    fleet.run(host, "pkill", "-9", "-f", "towpath agent")
    fleet.wait(deployment, "Failed")
    assert lines(fleet, host, deployment) == [*whole("ApplicationStop", "BeforeInstall"), "AfterInstall"]
    assert lines(fleet, other, deployment) == [], "the failed host stops the deployment"
    assert fleet.read(other, "/opt/app/version") == "1"
    assert events_of(fleet.target(deployment, host))["AfterInstall"]["status"] == "Failed"
    wait_for(lambda: fleet.run(host, "pgrep", "-f", "AfterInstall.sh", check=False).returncode == 1,
             "no script of the dead agent runs on")
    third = fleet.deploy(fleet.revision(revision("3"), "three.zip"), group)
    fleet.wait(third)
    assert [fleet.read(name, "/opt/app/version") for name in fleet.names] == ["3", "3"]


def test_a_rollback_survives_the_server(server, team, fleet):
    group = fleet.group(autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE"]})
    fleet.wait(fleet.deploy(fleet.revision(revision("1"), "one.zip"), group))
    bad = revision("2", waits_in="BeforeInstall")
    deployment = fleet.deploy(fleet.revision(bad, "two.zip"), group)
    host, other = first_in_hook(fleet, deployment, "BeforeInstall")
    fleet.run(host, "pkill", "-9", "-f", "BeforeInstall.sh")
    server.restart()
    found = fleet.wait(deployment, "Failed")
    for _ in range(3):
        server.restart()
    rollback = wait_for(lambda: fleet.get(deployment).get("rollbackInfo", {}).get("rollbackDeploymentId"),
                        "the rollback is there")
    fleet.wait(rollback)
    assert [fleet.read(name, "/opt/app/version") for name in fleet.names] == ["1", "1"]
    made = team.codedeploy.list_deployments(applicationName=fleet.application,
                                            deploymentGroupName=group)["deployments"]
    assert len(made) == 3, "one rollback"
    assert found["errorInformation"]["code"]
