"""Many pipelines triggered by one push: none is lost, and an execution costs the same among a thousand as among ten."""

import concurrent.futures
import time

from agents import processor_seconds
from report import median
from start import memory_mib
from world import Account, Outbox, action, folder, running

SIZES = (10, 100, 1_000)
CHANGE = "CodePipeline Pipeline Execution State Change"


class Triggered:
    """Pipelines that one repository triggers: source, then one object deployed to S3."""

    def __init__(self, server, path, size):
        self.server, self.size = server, size
        self.account = Account(server, f"scale{size}")
        self.outbox = Outbox(server)
        self.outbox.skip()
        repository, url = self.account.repository()
        self.project = self.account.checkout(path / f"project-{size}", url, self.account.git_user())
        self.bucket, role = self.account.bucket(), self.account.role("codepipeline")

        def pipeline(number):
            return self.account.pipeline([
                ("Source", [action("Source", "Source", "CodeCommit",
                                   {"RepositoryName": repository, "BranchName": "main"}, outputs=["source"])]),
                ("Deploy", [action("Deploy", "Deploy", "S3", {"BucketName": self.bucket, "Extract": "true",
                                                              "ObjectKey": f"out/{number}"}, ["source"])]),
            ], role=role, suffix=f"p{number}", bucket=self.bucket)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.names = list(pool.map(pipeline, range(size)))
        # Creating a pipeline starts it; with nothing in the repository that one fails.
        self.wait_for_ends()

    def wait_for_ends(self):
        """{pipeline: how its execution ended}, of as many as there are."""
        ended = {}
        deadline = time.monotonic() + 900
        while len(ended) < self.size:
            for at, event in self.outbox.fresh():
                detail = event.get("detail", {})
                if event.get("detail-type") == CHANGE and detail.get("state") in ("SUCCEEDED", "FAILED", "STOPPED"):
                    ended.setdefault(detail["pipeline"], []).append((detail["state"], at))
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(ended)} of {self.size} executions ended within 900 s")
            time.sleep(0.05)
        return ended

    def push(self):
        self.outbox.skip()
        self.account.commit(self.project, {"index.html": "<h1>hello</h1>\n", "data.txt": "x" * 4096})
        before, begun = processor_seconds(self.server.process), time.time()
        self.account.git(self.project, "push", "-q", "origin", "main")
        pushed = time.time() - begun
        ended = self.wait_for_ends()
        spent = processor_seconds(self.server.process) - before
        return pushed, max(at for ends in ended.values() for _, at in ends) - begun, spent, ended


def listing_ms(account, name):
    def timed(work):
        took = []
        for _ in range(5):
            at = time.perf_counter()
            work()
            took.append(1000 * (time.perf_counter() - at))
        return median(took)
    return (timed(lambda: account.codepipeline.list_pipelines(maxResults=100)),
            timed(lambda: account.codepipeline.list_pipeline_executions(pipelineName=name)))


def run(report):
    report.title("scale: pipelines triggered by one push (source, then an object deployed to S3)")
    rows, kept = [], []
    with folder("scale") as path, running(path) as server:
        for size in SIZES:
            world = Triggered(server, path, size)
            pushed, total, spent, ended = world.push()
            states = [state for ends in ended.values() for state, _ in ends]
            lists = listing_ms(world.account, world.names[0])
            kept.append({"pipelines": size, "push_seconds": pushed, "seconds": total, "processor_seconds": spent,
                         "succeeded": states.count("SUCCEEDED"), "ended": len(states), "list_ms": lists})
            rows.append([f"{size:,}", f"{states.count('SUCCEEDED'):,} of {len(states):,}", f"{pushed:.2f}", f"{total:.2f}",
                         f"{1000 * total / size:.1f}", f"{1000 * spent / size:.1f}",
                         f"{lists[0]:.1f} / {lists[1]:.1f}", f"{memory_mib(server.process):.0f}"])
    report.table(["pipelines", "succeeded", "push, s", "all ended after, s", "ms an execution", "server's own ms",
                  "list pipelines / executions, ms", "memory, MiB"], rows)
    last, first = kept[-1], kept[1]
    report.goal("none lost, none run twice", all(one["succeeded"] == one["ended"] == one["pipelines"] for one in kept))
    growth = (last["processor_seconds"] / last["pipelines"]) / (first["processor_seconds"] / first["pipelines"])
    report.goal(f"cost of an execution flat: 1,000 to 100 is {growth:.2f} x", growth < 1.5)
    report.keep("scale", kept)
