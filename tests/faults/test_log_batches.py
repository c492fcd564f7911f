"""A worker's lines are in the build's log once, though the answers to its batches are lost and the server is killed."""

import json
import threading

from accounts import Account
from seeded.proxy import Proxy
from server import Server, wait_for
from watch import Builds
from workers import Worker

LOG = "POST /_towpath/work/log"


class Deaf(Proxy):
    """A network that carries every batch of a log to the server, and no answer to any until it is `mended`."""

    def __init__(self, upstream):
        super().__init__("", upstream)
        self.mended, self.batches = threading.Event(), 0

    def fate(self, kind):
        if kind != LOG:
            return None, None
        self.batches += 1
        return None if self.mended.is_set() else "drop", None


def test_lines_whose_answer_was_lost_are_there_once_also_after_a_kill(tmp_path):
    server = Server(tmp_path, extra=["--build-slots", "0"]).start()
    network = Deaf(("127.0.0.1", server.port))
    made = json.loads(server.towpath("token", "create", "worker", "--json").stdout)
    worker = Worker(tmp_path, server, made["token"], "one", endpoints=[network.url])
    try:
        account = Account(server, "l")
        builds = Builds(account)
        text = {"version": 0.2, "phases": {"build": {"commands": ["seq 1 500 | sed 's/^/line /'", "echo the end"]}}}
        build = builds.start(account.project(json.dumps(text)))
        worker.start()
        started = "[Container]"
        wait_for(lambda: any(started in line for line in builds.lines(build)), "the first batch is stored")
        wait_for(lambda: network.batches >= 3, "it was sent again, and again")
        server.restart(kill=True)
        sent = network.batches
        wait_for(lambda: network.batches > sent, "it was sent to the server that was started again")
        network.mended.set()
        builds.wait(build, timeout=120)
        lines = builds.lines(build)
        assert [line for line in lines if line.startswith("line ")] == [f"line {number}" for number in range(1, 501)]
        own = [line for line in lines if started in line]
        assert len(own) == len(set(own)), own
        assert not any("attempt 2" in line for line in lines), own
        assert lines.count("the end") == 1
    finally:
        worker.stop()
        server.stop()
        network.close()
