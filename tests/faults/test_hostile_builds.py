"""Builds that mean harm: to the disk, to the log, to the process table."""

import os
import pathlib

import pytest

from accounts import Account
from footprint import descendants
from server import Server, wait_for

DISK_BYTES = 64 << 20
LOG_BYTES = 1 << 20
# One line; TOWPATH_FLOOD_BYTES makes it longer.
FLOOD_BYTES = int(os.environ.get("TOWPATH_FLOOD_BYTES", 1 << 30))
FLOOD_TIMEOUT = 120 + FLOOD_BYTES // (10 << 20)
# The server's memory while a build prints a line without end.
MEMORY_BOUND_MB = 100


@pytest.fixture
def bounded(tmp_path):
    made = Server(tmp_path, extra=["--build-disk-bytes", str(DISK_BYTES), "--build-log-bytes", str(LOG_BYTES),
                                   "--build-slots", "2"]).start()
    yield made
    made.stop()


def spec(*commands):
    return "version: 0.2\nphases:\n  build:\n    commands:\n" + "".join(f"      - '{text}'\n" for text in commands)


class Builds:
    def __init__(self, server):
        self.account = Account(server, "h")
        self.project = self.account.project(spec("true"))

    def start(self, *commands):
        started = self.account.codebuild.start_build(projectName=self.project, buildspecOverride=spec(*commands))
        return started["build"]["id"]

    def get(self, build):
        return self.account.codebuild.batch_get_builds(ids=[build])["builds"][0]

    def ended(self, build, status):
        wait_for(lambda: self.get(build)["buildComplete"], f"{build} ends", timeout=120)
        found = self.get(build)
        assert found["buildStatus"] == status, found["phases"]
        return found

    def printed(self, build):
        logs = self.get(build)["logs"]
        page = self.account.logs.get_log_events(
            logGroupName=logs["groupName"], logStreamName=logs["streamName"], startFromHead=False)
        return [event["message"] for event in page["events"]]


def context(build, phase):
    found = next(one for one in build["phases"] if one["phaseType"] == phase)
    return found["contexts"][0]


def resident_mb(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def test_a_build_that_fills_the_disk_fails_alone(bounded):
    builds = Builds(bounded)
    beside = builds.start("for i in $(seq 50); do test -e /tmp/go && break; sleep 0.1; done; echo went on")
    filler = builds.start("head -c 1G /dev/zero > full; echo survived", "echo never")
    found = builds.ended(filler, "FAILED")
    assert context(found, "BUILD")["statusCode"] == "DISK_QUOTA_EXCEEDED", found["phases"]
    assert f"{DISK_BYTES} bytes" in context(found, "BUILD")["message"]
    assert "survived" not in [line.strip() for line in builds.printed(filler)]
    builds.ended(beside, "SUCCEEDED")
    builds.ended(builds.start("echo the server goes on"), "SUCCEEDED")


@pytest.mark.timeout(FLOOD_TIMEOUT + 120)
def test_a_line_without_end_fills_neither_memory_nor_log(bounded):
    builds = Builds(bounded)
    before, most = resident_mb(bounded), 0
    flood = builds.start(f"head -c {FLOOD_BYTES} /dev/zero | tr \"\\0\" a", "echo the build goes on")

    def over():
        nonlocal most
        most = max(most, resident_mb(bounded))
        return builds.get(flood)["buildComplete"]

    wait_for(over, "the flood ends", timeout=FLOOD_TIMEOUT)
    builds.ended(flood, "SUCCEEDED")
    print(f"{FLOOD_BYTES} bytes; {before:.0f} MB before, {most:.0f} MB at most")
    assert most < before + MEMORY_BOUND_MB, f"{before:.0f} MB before, {most:.0f} MB at most"
    logs = builds.get(flood)["logs"]
    stored, token = 0, None
    while True:
        page = builds.account.logs.get_log_events(
            logGroupName=logs["groupName"], logStreamName=logs["streamName"], startFromHead=True,
            **({"nextToken": token} if token else {}))
        stored += sum(len(event["message"]) for event in page["events"])
        full = [event["message"] for event in page["events"] if "The log is full" in event["message"]]
        if full or page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
    assert full and str(LOG_BYTES) in full[0]
    assert stored < 2 * LOG_BYTES


def test_a_fork_bomb_ends_with_its_build(bounded):
    builds = Builds(bounded)
    before = set(descendants(bounded.process.pid))
    bomb = builds.start("f() { f | f & }; f; sleep 300")
    wait_for(lambda: len(descendants(bounded.process.pid)) > len(before) + 100, "the bomb goes off")
    builds.account.codebuild.stop_build(id=bomb)
    builds.ended(bomb, "STOPPED")
    wait_for(lambda: set(descendants(bounded.process.pid)) <= before, "every process of it has ended")
    builds.ended(builds.start("echo the server goes on"), "SUCCEEDED")
