"""Deployments on real hosts: isolated machines, each with its own root and an agent that speaks to the server."""

import io
import json
import zipfile

import pytest
from botocore.exceptions import ClientError

from accounts import zipped
from server import wait_for
from watch import build_action, commit_to, deploy_action, events_of, needs_root, repository_with, source_action

PLAIN = ["ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart",
         "ValidateService"]


def appspec(hooks=None, behavior="OVERWRITE", permissions="", files=(("/word.txt", "/opt/app"),)):
    lines = ["version: 0.0", "os: linux", "files:"]
    for source, destination in files:
        lines += [f"  - source: {source}", f"    destination: {destination}"]
    lines += [f"file_exists_behavior: {behavior}"] if behavior else []
    lines += [permissions] if permissions else []
    if hooks:
        lines.append("hooks:")
        for event, script in hooks.items():
            lines += [f"  {event}:", f"    - location: {script}", "      timeout: 20"]
    return "\n".join(lines) + "\n"


def bundle(word, hooks=None, scripts=None, **more):
    """An application that is one word; each of `scripts` is the text of a shell script."""
    scripts = {name: f"#!/bin/sh\n{text}\n" for name, text in (scripts or {}).items()}
    return zipped({"appspec.yml": appspec(hooks, **more), "word.txt": f"{word}\n"} | scripts)


def word(fleet, host):
    return fleet.read(host, "/opt/app/word.txt")


@pytest.fixture
def two(fleet):
    hosts = [fleet.host("a"), fleet.host("b")]
    fleet.group(autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_REQUEST"]})
    return hosts


# ---- the usual way -------------------------------------------------------------------------------------


def test_two_hosts_one_at_a_time_with_every_event_told(fleet, two):
    told = "echo $DEPLOYMENT_ID $LIFECYCLE_EVENT >> /opt/app/told; id -un"
    hooks = {"AfterInstall": "after.sh", "ValidateService": "check.sh"}
    deployment = fleet.deploy(fleet.revision(bundle("one", hooks, {
        "after.sh": told, "check.sh": f"{told}; grep -q one /opt/app/word.txt"})), description="first")
    info = fleet.wait(deployment)
    assert info["deploymentOverview"] == {
        "Pending": 0, "InProgress": 0, "Succeeded": 2, "Failed": 0, "Skipped": 0, "Ready": 0}
    assert info["deploymentConfigName"] == "CodeDeployDefault.OneAtATime" and info["description"] == "first"
    targets = fleet.targets(deployment)
    assert sorted(targets) == sorted(two)
    spans = []
    for host in two:
        assert word(fleet, host) == "one"
        assert fleet.read(host, "/opt/app/told").split() == [deployment, "AfterInstall", deployment, "ValidateService"]
        events = events_of(targets[host])
        assert list(events) == PLAIN
        assert {one["status"] for one in events.values()} <= {"Succeeded", "Skipped"}
        assert {"DownloadBundle", "Install", "AfterInstall", "ValidateService"} <= {
            name for name, one in events.items() if one["status"] == "Succeeded"}
        diagnostics = events["AfterInstall"]["diagnostics"]
        assert diagnostics["errorCode"] == "Success", diagnostics
        assert "Script - after.sh" in diagnostics["logTail"] and "[stdout]root" in diagnostics["logTail"]
        spans.append((events["DownloadBundle"]["startTime"], events["ValidateService"]["endTime"]))
    (_, first_end), (second_start, _) = sorted(spans)
    assert first_end <= second_start, "one at a time"
    with_cli = fleet.server.aws("deploy", "get-deployment", "--deployment-id", deployment)
    assert with_cli["deploymentInfo"]["status"] == "Succeeded"


def test_tags_choose_the_hosts(fleet):
    hosts = {name: fleet.host(name, **tags) for name, tags in {
        "web": {"role": "web", "stage": "live"}, "old": {"role": "web", "stage": "test"}, "db": {"role": "db", "stage": "live"}}.items()}
    fleet.group("live-web", tags={"fleet": fleet.account.name, "role": "web", "stage": "live"})
    deployment = fleet.deploy(fleet.revision(bundle("tagged")), "live-web")
    fleet.wait(deployment)
    assert list(fleet.targets(deployment)) == [hosts["web"]]
    assert {name: word(fleet, host) for name, host in hosts.items()} == {"web": "tagged", "old": None, "db": None}
    fleet.group("nobody", tags={"fleet": "of-nobody"})
    failed = fleet.wait(fleet.deploy(fleet.revision(bundle("x")), "nobody"), "Failed")
    assert failed["errorInformation"]["code"] == "NO_INSTANCES"


@needs_root
def test_permissions_and_runas_are_applied(fleet):
    host = fleet.host("web")
    fleet.group()
    rights = "permissions:\n  - object: /opt/app\n    pattern: '*.txt'\n    owner: nobody\n    mode: 640\n    type: [file]"
    text = appspec({"AfterInstall": "who.sh"}, permissions=rights) + "      runas: nobody\n"
    archive = zipped({"appspec.yml": text, "word.txt": "w\n", "who.sh": "#!/bin/sh\nid -un > /tmp/who\n"})
    fleet.wait(fleet.deploy(fleet.revision(archive)))
    assert fleet.run(host, "stat", "-c", "%U %a", "/opt/app/word.txt") == "nobody 640"
    assert fleet.read(host, "/tmp/who") == "nobody"


# ---- failures ------------------------------------------------------------------------------------------

FAILING = {"ValidateService": "check.sh"}
FAILURE = {"check.sh": "echo answered 500; echo no such page >&2; exit 7"}


def test_a_failing_validation_on_the_first_host_spares_the_second_and_is_rolled_back(fleet, two):
    fleet.wait(fleet.deploy(fleet.revision(bundle("old"), "old.zip")))
    deployment = fleet.deploy(fleet.revision(bundle("new", FAILING, FAILURE), "new.zip"))
    info = fleet.wait(deployment, "Failed")
    assert info["errorInformation"]["code"] == "HEALTH_CONSTRAINTS"
    statuses = {name: target["status"] for name, target in fleet.targets(deployment).items()}
    assert sorted(statuses.values()) == ["Failed", "Skipped"]
    failed = next(name for name, status in statuses.items() if status == "Failed")
    spared = next(name for name, status in statuses.items() if status == "Skipped")
    assert {one["status"] for one in fleet.target(deployment, spared)["lifecycleEvents"]} <= {"Skipped", "Pending"}
    diagnostics = events_of(fleet.target(deployment, failed))["ValidateService"]["diagnostics"]
    assert (diagnostics["errorCode"], diagnostics["scriptName"]) == ("ScriptFailed", "check.sh")
    assert "answered 500" in diagnostics["logTail"] and "no such page" in diagnostics["logTail"]
    assert "7" in diagnostics["message"], diagnostics
    rollback = wait_for(lambda: fleet.get(deployment).get("rollbackInfo", {}).get("rollbackDeploymentId"), "a rollback")
    back = fleet.wait(rollback)
    assert back["rollbackInfo"]["rollbackTriggeringDeploymentId"] == deployment
    assert back["creator"] == "codeDeployRollback" and back["revision"]["s3Location"]["key"] == "old.zip"
    assert [word(fleet, host) for host in two] == ["old", "old"]


def test_in_a_pipeline_it_fails_the_stage_and_the_rollback_is_visible(account, pipe, fleet, two):
    build = "version: 0.2\nphases: {build: {commands: ['true']}}\nartifacts: {files: ['**/*']}\n"
    good = {"appspec.yml": appspec(FAILING), "word.txt": "old\n", "check.sh": "#!/bin/sh\ntrue\n"}
    repository, _, _ = repository_with(account, good)
    project = account.project(source={"type": "CODEPIPELINE", "buildspec": build}, artifacts={"type": "CODEPIPELINE"})
    made = pipe([("Source", [source_action(repository)]), ("Build", [build_action(project)]),
                 ("Deploy", [deploy_action(fleet.application, "web")])])
    made.wait(made.newest(), timeout=90)
    commit_to(account, repository, {"word.txt": "new\n", "check.sh": "#!/bin/sh\n" + FAILURE["check.sh"] + "\n"})
    second = made.nth(2)
    made.wait(second, "Failed", timeout=90)
    latest = made.latest("Deploy", "Deploy")
    deployment = latest["externalExecutionId"]
    assert latest["status"] == "Failed" and deployment in json.dumps(latest, default=str), latest
    rollback = wait_for(lambda: fleet.get(deployment).get("rollbackInfo", {}).get("rollbackDeploymentId"), "a rollback")
    fleet.wait(rollback)
    assert [word(fleet, host) for host in two] == ["old", "old"]
    events = [one["detail"] for one in account.server.events("aws.codedeploy")
              if one["detail"].get("deploymentId") in (deployment, rollback)]
    assert [one["state"] for one in events if one["deploymentId"] == deployment and "instanceId" not in one][-1] == "FAILURE"
    assert [one["state"] for one in events if one["deploymentId"] == rollback and "instanceId" not in one][-1] == "SUCCESS"


def test_a_stopped_deployment_takes_no_more_hosts_and_rolls_back(fleet, two):
    fleet.wait(fleet.deploy(fleet.revision(bundle("old"), "old.zip")))
    slow = {"slow.sh": "touch /opt/app/begun; while [ ! -e /opt/app/go ]; do sleep 0.1; done"}
    deployment = fleet.deploy(fleet.revision(bundle("new", {"ApplicationStart": "slow.sh"}, slow), "new.zip"))
    begun = wait_for(lambda: next((host for host in two if fleet.read(host, "/opt/app/begun") is not None), None),
                     "a host runs the script")
    answer = fleet.client.stop_deployment(deploymentId=deployment, autoRollbackEnabled=True)
    assert answer["status"] in ("Pending", "Succeeded")
    fleet.run(begun, "touch", "/opt/app/go")
    info = fleet.wait(deployment, "Stopped")
    rollback = wait_for(lambda: fleet.get(deployment).get("rollbackInfo", {}).get("rollbackDeploymentId"), "a rollback")
    fleet.wait(rollback)
    assert [word(fleet, host) for host in two] == ["old", "old"]
    assert info["errorInformation"]["code"] == "MANUAL_STOP", info
    other = next(host for host in two if host != begun)
    assert fleet.target(deployment, other)["status"] == "Skipped"
    with pytest.raises(ClientError) as caught:
        fleet.client.stop_deployment(deploymentId=deployment)
    assert caught.value.response["Error"]["Code"] == "DeploymentAlreadyCompletedException"


def test_minimum_healthy_hosts_are_never_undercut(fleet):
    hosts = [fleet.host(name) for name in "abc"]
    name = f"{fleet.account.name}-two-healthy"
    fleet.client.create_deployment_config(
        deploymentConfigName=name, computePlatform="Server", minimumHealthyHosts={"type": "HOST_COUNT", "value": 2})
    fleet.group(config=name)
    gate = "touch /opt/app/begun; while [ ! -e /opt/app/go ]; do sleep 0.1; done"
    deployment = fleet.deploy(fleet.revision(bundle("new", {"AfterInstall": "gate.sh"}, {"gate.sh": gate})))
    done = []
    for _ in hosts:
        waiting = lambda: [host for host in hosts if host not in done and fleet.read(host, "/opt/app/begun") is not None]
        busy = wait_for(waiting, "a host is being deployed to")
        overview = fleet.get(deployment)["deploymentOverview"]
        assert len(busy) == 1 and overview["InProgress"] == 1 and overview["Succeeded"] == len(done), overview
        fleet.run(busy[0], "touch", "/opt/app/go")
        done += busy
    fleet.wait(deployment)
    impossible = f"{fleet.account.name}-four-healthy"
    fleet.client.create_deployment_config(
        deploymentConfigName=impossible, computePlatform="Server", minimumHealthyHosts={"type": "HOST_COUNT", "value": 4})
    failed = fleet.wait(fleet.deploy(fleet.revision(bundle("never"), "never.zip"), deploymentConfigName=impossible), "Failed")
    assert failed["errorInformation"]["code"] == "HEALTH_CONSTRAINTS_INVALID"
    assert {word(fleet, host) for host in hosts} == {"new"}


# ---- what is refused before a host is touched -----------------------------------------------------------


def climbing():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("appspec.yml", appspec())
        archive.writestr("word.txt", "w\n")
        archive.writestr("../../../../../../opt/climbed", "out\n")
    return buffer.getvalue()


REFUSED = {
    "unknown key": (zipped({"appspec.yml": appspec().replace("files:", "fils:"), "word.txt": "w"}), ["fils", "line 3"]),
    "unknown event": (zipped({"appspec.yml": appspec({"AfterLunch": "x.sh"}), "word.txt": "w", "x.sh": ""}), ["AfterLunch"]),
    "no YAML": (zipped({"appspec.yml": "files: [", "word.txt": "w"}), ["line"]),
    "no AppSpec": (zipped({"word.txt": "w"}), ["appspec.yml"]),
    "climbs out": (climbing(), [".."]),
    "no zip": (b"PK no zip at all", []),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_revision_that_cannot_be_right_touches_no_host(fleet, case):
    archive, expected = REFUSED[case]
    host = fleet.host("web")
    fleet.group()
    try:
        deployment = fleet.deploy(fleet.revision(archive))
    except ClientError as error:
        told, deployment = str(error), None
    else:
        info = fleet.wait(deployment, "Failed")
        told = info["errorInformation"]["message"]
        print(case, info["errorInformation"])
    assert all(one in told for one in expected), told
    assert word(fleet, host) is None and fleet.read(host, "/opt/climbed") is None
    if deployment:
        for target in fleet.targets(deployment).values():
            assert not [one for one in target["lifecycleEvents"] if one["status"] in ("Succeeded", "InProgress", "Failed")]


def test_a_script_that_is_missing_and_a_revision_that_is_gone(fleet):
    host = fleet.host("web")
    fleet.group()
    told = lambda deployment: json.dumps([fleet.wait(deployment, "Failed")["errorInformation"],
                                          list(fleet.targets(deployment).values())], default=str)
    missing = fleet.deploy(fleet.revision(bundle("w", {"BeforeInstall": "nowhere.sh"})))
    assert "nowhere.sh" in told(missing) and word(fleet, host) is None
    revision = fleet.revision(bundle("w"), "gone.zip")
    fleet.account.s3.delete_object(Bucket=fleet.revisions, Key="gone.zip")
    with pytest.raises((ClientError, AssertionError)) as caught:
        fleet.wait(fleet.deploy(revision))
    assert "gone.zip" in str(caught.value) or "REVISION_MISSING" in str(caught.value), caught.value
    assert word(fleet, host) is None


def test_files_that_no_deployment_made_are_kept_overwritten_or_refused(fleet):
    host = fleet.host("web")
    fleet.group()
    fleet.run(host, "sh", "-c", "mkdir -p /opt/app && echo by hand > /opt/app/word.txt")
    refused = fleet.wait(fleet.deploy(fleet.revision(bundle("x", behavior="DISALLOW"))), "Failed")
    deployment = refused["deploymentId"]
    diagnostics = events_of(fleet.target(deployment, host))["Install"]["diagnostics"]
    assert "/opt/app/word.txt" in diagnostics["message"] and "already exists" in diagnostics["message"], diagnostics
    assert word(fleet, host) == "by hand"
    revision = fleet.revision(bundle("kept", behavior=None))
    fleet.wait(fleet.deploy(revision, fileExistsBehavior="RETAIN"))
    assert word(fleet, host) == "by hand"
    fleet.wait(fleet.deploy(fleet.revision(bundle("over", behavior=None), "over.zip"), fileExistsBehavior="OVERWRITE"))
    assert word(fleet, host) == "over"


# ---- hosts ---------------------------------------------------------------------------------------------


def test_a_host_is_a_machine_of_its_own(fleet):
    a, b = fleet.host("a"), fleet.host("b")
    assert fleet.run(a, "hostname") == a and fleet.run(b, "hostname") == b
    fleet.run(a, "sh", "-c", "mkdir -p /opt/only && echo here > /opt/only/a")
    assert fleet.read(b, "/opt/only/a") is None
    done = fleet.run(a, "sh", "-c", "echo out; echo err >&2; exit 9", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (9, "out\n", "err\n")
    listed = json.loads(fleet.server.towpath("host", "list", "--json").stdout)
    assert {a, b} <= {host["name"] for host in listed}
    registered = fleet.client.get_on_premises_instance(instanceName=a)["instanceInfo"]
    assert {"Key": "fleet", "Value": fleet.account.name} in registered["tags"]
    fleet.server.towpath("host", "stop", a)
    assert a not in fleet.server.towpath("host", "list").stdout
    assert fleet.run(a, "true", check=False).returncode != 0
    instances = fleet.client.list_on_premises_instances(registrationStatus="Registered")["instanceNames"]
    assert a not in instances and b in instances


def test_who_may_not_deploy_does_not(fleet):
    fleet.group()
    stranger = fleet.server.client("codedeploy", fleet.account.user("codedeploy:Get*"))
    with pytest.raises(ClientError) as caught:
        stranger.create_deployment(applicationName=fleet.application, deploymentGroupName="web",
                                   revision=fleet.revision(bundle("x")))
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert "codedeploy:CreateDeployment" in str(caught.value)
    assert fleet.client.list_deployments(applicationName=fleet.application, deploymentGroupName="web")["deployments"] == []
