"""Agents and hosts: an agent on any Linux host, published services, scripts that misbehave, fleets of several."""

import io
import json
import pathlib
import subprocess
import tarfile
import urllib.request

import pytest

from accounts import zipped
from server import BIN, wait_for
from watch import events_of, needs_root

FILES = "files:\n  - source: /word.txt\n    destination: %s\nfile_exists_behavior: OVERWRITE\n"


def bundle(hooks="", destination="/opt/app", **files):
    files = {name.replace("_sh", ".sh"): text for name, text in files.items()}
    return zipped({"appspec.yml": "version: 0.0\nos: linux\n" + FILES % destination + hooks, "word.txt": "w\n"} | files)


def hook(event, script, timeout=20):
    return f"hooks:\n  {event}:\n    - location: {script}\n      timeout: {timeout}\n"


def test_an_agent_on_any_linux_host_registers_and_deploys(fleet, tmp_path):
    """No sandbox: the agent's process and its files are this machine's, below a folder of the test's own."""
    name = f"{fleet.account.name}-plain"
    fleet.group(tags={"fleet": name})
    target = tmp_path / "app"
    log = open(tmp_path / "agent.log", "w")
    agent = subprocess.Popen(
        [BIN, "agent", "--endpoint", fleet.server.url, "--name", name, "--tag", f"fleet={name}",
         "--root-dir", str(tmp_path / "agent")], env=fleet.server.env(), stdout=log, stderr=log)
    log.close()
    try:
        def registered():
            assert agent.poll() is None, (tmp_path / "agent.log").read_text()
            found = fleet.client.list_on_premises_instances(tagFilters=[{"Key": "fleet", "Value": name, "Type": "KEY_AND_VALUE"}])
            return name in found["instanceNames"]
        wait_for(registered, "the agent's registration")
        hooks = hook("ValidateService", "check.sh")
        deployment = fleet.deploy(fleet.revision(bundle(hooks, str(target), check_sh=f"#!/bin/sh\ncat {target}/word.txt\n")))
        fleet.wait(deployment)
        assert (target / "word.txt").read_text() == "w\n"
        assert "[stdout]w" in events_of(fleet.target(deployment, name))["ValidateService"]["diagnostics"]["logTail"]
    finally:
        agent.terminate()
    assert agent.wait(timeout=30) == 0, (tmp_path / "agent.log").read_text()


def test_a_service_on_a_host_is_reached_through_its_published_port(fleet):
    name = f"{fleet.account.name}-web"
    host = json.loads(fleet.server.towpath(
        "host", "run", name, "--tag", f"fleet={fleet.account.name}", "--publish", "8080", "--json").stdout)
    fleet.names.append(name)
    fleet.group()
    start = "#!/bin/sh\ncd /opt/app && setsid nohup python3 -m http.server 8080 >/dev/null 2>&1 </dev/null &\n"
    fleet.wait(fleet.deploy(fleet.revision(bundle(hook("ApplicationStart", "start.sh"), start_sh=start))))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answer():
        try:
            return opener.open(f"http://{host['published'][0]}/word.txt", timeout=5).read()
        except OSError:
            return None
    assert wait_for(answer, "the service answers") == b"w\n"


def test_a_script_that_hangs_is_ended_with_what_it_started(fleet):
    host = fleet.host("web")
    fleet.group()
    hang = "#!/bin/sh\necho before\nsleep 1000 & echo $! > /opt/app/child\nsleep 1000\n"
    deployment = fleet.deploy(fleet.revision(bundle(hook("AfterInstall", "hang.sh", timeout=1), hang_sh=hang)))
    fleet.wait(deployment, "Failed")
    diagnostics = events_of(fleet.target(deployment, host))["AfterInstall"]["diagnostics"]
    assert (diagnostics["errorCode"], diagnostics["scriptName"]) == ("ScriptTimedOut", "hang.sh")
    assert "before" in diagnostics["logTail"]
    child = fleet.read(host, "/opt/app/child")
    gone = lambda: fleet.run(host, "kill", "-0", child, check=False).returncode != 0
    wait_for(gone, "what the script started is gone too", timeout=15)


@pytest.mark.parametrize("text, code", [("#!/bin/sh\nexit 4\n", "ScriptFailed"), ("#!/no/such/shell\n", None)])
def test_a_script_that_fails_says_how(fleet, text, code):
    host = fleet.host("web")
    fleet.group()
    deployment = fleet.deploy(fleet.revision(bundle(hook("BeforeInstall", "bad.sh"), bad_sh=text)))
    fleet.wait(deployment, "Failed")
    events = events_of(fleet.target(deployment, host))
    diagnostics = events["BeforeInstall"]["diagnostics"]
    assert diagnostics["scriptName"] == "bad.sh" and diagnostics["errorCode"] in ([code] if code else ["ScriptFailed", "UnknownError"])
    assert events["Install"]["status"] == "Skipped" and fleet.read(host, "/opt/app/word.txt") is None


def test_an_old_application_stop_that_fails_can_be_ignored(fleet):
    fleet.host("web")
    fleet.group()
    broken = bundle(hook("ApplicationStop", "stop.sh"), stop_sh="#!/bin/sh\nexit 1\n")
    fleet.wait(fleet.deploy(fleet.revision(broken, "broken.zip")))
    good = fleet.revision(bundle(), "good.zip")
    fleet.wait(fleet.deploy(good), "Failed")
    fleet.wait(fleet.deploy(good, ignoreApplicationStopFailures=True))


def test_all_at_once_counts_every_host(fleet):
    hosts = [fleet.host(name) for name in "abc"]
    fleet.group(config="CodeDeployDefault.AllAtOnce")
    only = hosts[1]
    check = f"#!/bin/sh\n[ \"$(hostname)\" != {only} ]\n"
    deployment = fleet.deploy(fleet.revision(bundle(hook("ValidateService", "check.sh"), check_sh=check)))
    info = fleet.wait(deployment)  # one host that serves is enough
    assert (info["deploymentOverview"]["Succeeded"], info["deploymentOverview"]["Failed"]) == (2, 1)
    assert {name: target["status"] for name, target in fleet.targets(deployment).items()} == {
        host: "Failed" if host == only else "Succeeded" for host in hosts}
    repaired = fleet.revision(bundle(), "repaired.zip")
    info = fleet.wait(fleet.deploy(repaired, updateOutdatedInstancesOnly=True))
    assert info["deploymentOverview"]["Succeeded"] == 3


def test_files_that_a_revision_no_longer_has_are_taken_away(fleet):
    host = fleet.host("web")
    fleet.group()
    whole = "version: 0.0\nos: linux\nfiles:\n  - source: /app\n    destination: /opt/app\n"
    pack = lambda **files: zipped({"appspec.yml": whole} | {f"app/{name}.txt": text for name, text in files.items()})
    fleet.wait(fleet.deploy(fleet.revision(pack(old="1", both="1"), "one.zip")))
    fleet.run(host, "sh", "-c", "echo mine > /opt/app/by-hand.txt")
    fleet.wait(fleet.deploy(fleet.revision(pack(new="2", both="2"), "two.zip")))
    assert fleet.run(host, "ls", "/opt/app").split() == ["both.txt", "by-hand.txt", "new.txt"]
    assert fleet.read(host, "/opt/app/both.txt") == "2"


def test_an_agent_without_rights_or_a_wrong_name_says_so(fleet, tmp_path):
    """Keys of somebody else cannot take a host's work."""
    host = fleet.host("web")
    stranger = fleet.account.user()
    agent = subprocess.run(
        ["timeout", "5", BIN, "agent", "--endpoint", fleet.server.url, "--name", host, "--root-dir", str(tmp_path / "agent")],
        env=fleet.server.env(stranger), capture_output=True, text=True)
    told = agent.stdout + agent.stderr
    assert agent.returncode != 0 and ("AccessDenied" in told or "not authorized" in told), told[-2000:]
    fleet.group()
    fleet.wait(fleet.deploy(fleet.revision(bundle())))


@needs_root
def test_a_user_of_a_host_and_its_limits(fleet):
    host = fleet.host("web")
    done = fleet.server.towpath("host", "exec", host, "--user", "nobody", "--", "id", "-un")
    assert done.stdout.strip() == "nobody"
    denied = fleet.run(host, "cat", str(pathlib.Path(fleet.server.data) / "identity/root-credentials.json"), check=False)
    assert denied.returncode != 0 and "access" not in denied.stdout
    assert fleet.run(host, "sh", "-c", "echo y > /etc/motd.towpath && cat /etc/motd.towpath") == "y"
    assert not pathlib.Path("/etc/motd.towpath").exists()
    missing = fleet.run(host, "no-such-command", check=False)
    assert missing.returncode in (1, 127) and "no-such-command" in missing.stderr


@pytest.mark.parametrize("mode, kind", [("w", "tar"), ("w:gz", "tgz")])
def test_bundles_may_be_tars(fleet, mode, kind):
    host = fleet.host("web")
    fleet.group()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, text in {"appspec.yml": "version: 0.0\nos: linux\n" + FILES % "/opt/app", "word.txt": kind}.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    revision = fleet.revision(buffer.getvalue(), f"app.{kind}")
    revision["s3Location"]["bundleType"] = kind
    fleet.wait(fleet.deploy(revision))
    assert fleet.read(host, "/opt/app/word.txt") == kind


def test_an_agent_that_dies_comes_back_and_takes_the_next_deployment(fleet):
    host = fleet.host("web")
    fleet.group()
    agents = lambda: fleet.run(host, "pgrep", "-x", "towpath", check=False).stdout.split()
    before = wait_for(agents, "the agent runs")
    fleet.run(host, "kill", "-9", *before)
    wait_for(lambda: (now := agents()) and now != before, "another agent", timeout=30)
    fleet.wait(fleet.deploy(fleet.revision(bundle())))
    assert fleet.read(host, "/opt/app/word.txt") == "w"


def test_filters_select_by_key_or_by_value_alone(fleet):
    web, db = fleet.host("web", **{fleet.account.name: "web"}), fleet.host("db", **{fleet.account.name: "db"})
    for group, chosen, expected in (("by-key", {"Key": fleet.account.name, "Type": "KEY_ONLY"}, {web, db}),
                                    ("by-value", {"Value": fleet.account.name, "Type": "VALUE_ONLY"}, {web, db})):
        fleet.client.create_deployment_group(
            applicationName=fleet.application, deploymentGroupName=group, serviceRoleArn=fleet.role,
            deploymentConfigName="CodeDeployDefault.AllAtOnce", onPremisesInstanceTagFilters=[chosen])
        deployment = fleet.deploy(fleet.revision(bundle()), group)
        fleet.wait(deployment)
        assert set(fleet.targets(deployment)) == expected
