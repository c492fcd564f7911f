"""What forgetting takes: documents and disk before and after a history of 100,000 executions is past its time.

One real execution (source and build) runs; its documents are copied as `growth` copies them, and dated two years
back, while the server is stopped. Then a server starts that keeps a year, and is asked from beside, one request
after the other, until what is old is gone and the file is small. The same is asked when all is over.
"""

import pathlib
import sqlite3
import time

from api import Wire
from copies import FORGOTTEN, Copier, aged, chosen
from growth import one_execution
from start import memory_mib
from world import Outbox, folder, running

SIZE = 100_000
YEARS_MS = 2 * 365 * 24 * 3_600_000
# The server says what it forgets in pieces; asking for their number is work, too.
LOOK_S = 0.5
SLICE_S, CALM_SLICES = 1.0, 10
WITHIN_S = 3600


def grow(copier, size):
    copier.grow(size, lambda kind, key, body: (kind, aged(key, YEARS_MS), aged(body, YEARS_MS)) if kind in FORGOTTEN else None)
    copier.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def count(database):
    return database.execute(f"SELECT count(*) FROM documents WHERE {chosen(FORGOTTEN)}").fetchone()[0]


def mib(path):
    return path.stat().st_size / 2**20 if path.exists() else 0.0


def log_of(path):
    """What SQLite writes ahead; it is used again, and cut at 64 MiB."""
    return path.with_name(path.name + "-wal")


class Asked:
    """Somebody who looks at the pipeline all the while."""

    def __init__(self, server, load, pipeline):
        self.wire = Wire(server, load)
        self.requests = [self.wire.json("codepipeline", "CodePipeline_20150709.GetPipelineState", {"name": pipeline})]
        self.slices = []

    def once(self):
        self.slices.append(self.wire.measure(self.requests, 1, SLICE_S))

    def worst_ms(self):
        return max(one["p99_us"] for one in self.slices) / 1000


def run(report, load, scale):
    size = max(10, int(SIZE * scale))
    report.title(f"retention: {size:,} executions of two years ago, a server that keeps one year")
    if not load:
        report.say("  not measured: no load generator was given (--load)")
        return
    with folder("retention") as path:
        with running(path) as server:
            names = one_execution(server, path)
            database_path = pathlib.Path(Outbox(server).path)
        database = sqlite3.connect(database_path)
        kept, small = count(database), mib(database_path)
        grow(Copier.of(database, names["execution"]), size)
        before = count(database), mib(database_path)
        facts = forget(path, database, database_path, (kept, small), (load, names["pipeline"]))
        after = count(database), mib(database_path)
        database.close()
    report.table(["", "before", "after"], [["documents", f"{before[0]:,}", f"{after[0]:,}"],
                                           ["database, MiB", f"{before[1]:,.1f}", f"{after[1]:,.1f}"],
                                           ["its log, MiB", "0.0", f"{facts['log_mib']:,.1f}"]])
    report.say(f"  forgotten after {facts['forgotten_s']:.1f} s ({(before[0] - after[0]) / facts['forgotten_s']:,.0f} documents/s), "
               f"the file small again after {facts['shrunk_s']:.1f} s")
    report.say(f"  memory {facts['memory_mib']:.0f} MiB at most; GetPipelineState meanwhile: p99 of the worst second "
               f"{facts['busy_p99_ms']:.1f} ms, afterwards {facts['calm_p99_ms']:.1f} ms")
    report.keep("retention", {"executions": size, "documents": [before[0], after[0]],
                              "database_mib": [before[1], after[1]], **facts})


def forget(path, database, database_path, until, asked):
    """Runs a server until only what is `until` is left."""
    kept, small = until
    memory, begun = 0, time.perf_counter()
    with running(path) as server:
        busy = Asked(server, *asked)

        def wait(what, over):
            nonlocal memory
            looked = 0
            while True:
                busy.once()
                memory = max(memory, memory_mib(server.process))
                if time.perf_counter() - looked > LOOK_S:
                    if over():
                        return time.perf_counter() - begun
                    looked = time.perf_counter()
                if looked - begun > WITHIN_S:
                    raise SystemExit(f"not within {WITHIN_S} s: {what}")

        forgotten_s = wait("the documents are gone", lambda: count(database) <= kept)
        # What the writer keeps for the next documents is 16 MiB.
        shrunk_s = wait("the file is small", lambda: mib(database_path) <= small + 24)
        calm = Asked(server, *asked)
        for _ in range(CALM_SLICES):
            calm.once()
        log_mib = mib(log_of(database_path))
    return {"log_mib": log_mib, "forgotten_s": forgotten_s, "shrunk_s": shrunk_s, "memory_mib": memory, "busy_p99_ms": busy.worst_ms(),
            "calm_p99_ms": calm.worst_ms()}
