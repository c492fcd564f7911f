"""What several benchmarks need: a server of their own, the events it recorded, work folders, the machine in words."""

import contextlib
import json
import os
import pathlib
import platform
import shutil
import sqlite3
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from accounts import Account, action, zipped  # noqa: E402,F401
from server import BIN, SESSION, Server, free_port, wait_for  # noqa: E402,F401


@contextlib.contextmanager
def folder(name):
    """A folder on the disk of target/, where a server's data would be; removed at the end."""
    parent = pathlib.Path(os.environ.get("BENCH_FOLDER") or ROOT / "target/bench")
    parent.mkdir(parents=True, exist_ok=True)
    made = pathlib.Path(tempfile.mkdtemp(prefix=name + "-", dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def running(path):
    server = Server(path)
    server.start()
    try:
        yield server
    finally:
        server.towpath("host", "stop", "--all", check=False)
        server.stop()


class Outbox:
    """The server's recorded events with their milliseconds, read beside it without asking it."""

    def __init__(self, server):
        found = sorted(server.data.rglob("*.db")) + sorted(server.data.rglob("*.sqlite*"))
        self.path = next(path for path in found if not path.name.endswith(("-wal", "-shm")))
        self.database = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)
        self.seen = 0

    def skip(self):
        self.seen = self.database.execute("SELECT coalesce(max(sequence), 0) FROM outbox").fetchone()[0]

    def fresh(self):
        """(seconds since the epoch, event) of each event since the last call."""
        rows = self.database.execute(
            "SELECT sequence, emitted_at, event FROM outbox WHERE sequence > ? ORDER BY sequence", (self.seen,)).fetchall()
        if rows:
            self.seen = rows[-1][0]
        return [(emitted_at / 1000, json.loads(event)) for _, emitted_at, event in rows]

    def until(self, wanted, what, timeout=180):
        """Every event up to the first that `wanted` is true for."""
        events, end = [], time.monotonic() + timeout
        while True:
            for at, event in self.fresh():
                events.append((at, event))
                if wanted(event):
                    return events
            if time.monotonic() > end:
                raise SystemExit(f"not within {timeout} s: {what}; the last events: {events[-3:]}")
            time.sleep(0.003)


def machine():
    """One line about where the figures are from."""
    release = dict(line.split("=", 1) for line in open("/etc/os-release") if "=" in line)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (f"{release['PRETTY_NAME'].strip().strip(chr(34))}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} cores, "
            f"{memory_gib:.0f} GiB; load average {load:.1f}; {'root' if os.geteuid() == 0 else 'not root'}")
