"""What lists and lookups cost when much has happened: 10, 1,000 and 100,000 past executions of one pipeline.

One real execution (source and build) runs; its documents are then copied with new ids into the store's
database while the server is stopped, because running 100,000 builds would take a day.
"""

import sqlite3
import time

import journey
from api import Wire
from copies import Copier
from report import median, spread
from start import answers, memory_mib
from world import Outbox, action, folder, running

SIZES = (10, 1_000, 100_000)
ROUNDS, SECONDS = 3, 0.5
SOURCE_AND_BUILD = {"buildspec.yml": "version: 0.2\nphases:\n  build:\n    commands:\n      - 'true'\n"
                                     "artifacts:\n  files:\n    - buildspec.yml\n"}


def one_execution(server, path):
    bench = journey.Bench(server, path, "growth")
    project = bench.account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    bucket = bench.account.bucket()
    bench.pipeline = bench.account.pipeline([
        ("Source", [action("Source", "Source", "CodeCommit",
                           {"RepositoryName": bench.repository, "BranchName": "main"}, outputs=["source"])]),
        ("Build", [action("Build", "Build", "CodeBuild", {"ProjectName": project}, ["source"], ["built"])])], bucket=bucket)
    bench.first_execution_is_over()
    bench.commit(SOURCE_AND_BUILD)
    bench.travel_to_the_end()
    listed = bench.account.codepipeline.list_pipeline_executions(pipelineName=bench.pipeline)
    done = next(one for one in listed["pipelineExecutionSummaries"] if one["status"] == "Succeeded")
    build = bench.account.codebuild.list_builds_for_project(projectName=project)["ids"][0]
    return {"pipeline": bench.pipeline, "project": project, "bucket": bucket, "build": build,
            "execution": done["pipelineExecutionId"]}


def operations(wire, names):
    pipeline = lambda operation, **more: [wire.json(
        "codepipeline", f"CodePipeline_20150709.{operation}", {**more})]
    build = lambda operation, **more: [wire.json("codebuild", f"CodeBuild_20161006.{operation}", {**more})]
    logs = [wire.json("logs", "Logs_20140328.DescribeLogStreams",
                      {"logGroupName": f"/aws/codebuild/{names['project']}", "limit": 50})]
    return {
        "GetPipelineState": pipeline("GetPipelineState", name=names["pipeline"]),
        "GetPipelineExecution": pipeline("GetPipelineExecution", pipelineName=names["pipeline"],
                                         pipelineExecutionId=names["execution"]),
        "ListPipelineExecutions, 100": pipeline("ListPipelineExecutions", pipelineName=names["pipeline"], maxResults=100),
        "ListActionExecutions, 100": pipeline("ListActionExecutions", pipelineName=names["pipeline"], maxResults=100),
        "ListBuildsForProject, 100": build("ListBuildsForProject", projectName=names["project"]),
        "ListBuilds, 100": build("ListBuilds"),
        "BatchGetBuilds, 1": build("BatchGetBuilds", ids=[names["build"]]),
        "DescribeLogStreams, 50": logs,
        "ListObjectsV2, 1000": [wire.request("GET", f"/{names['bucket']}?list-type=2", "s3")],
    }


def run(report, load):
    report.title(f"growth: one client's median milliseconds, {ROUNDS} rounds of {SECONDS} s")
    if not load:
        report.say("  not measured: no load generator was given (--load)")
        return
    columns, facts = {}, {}
    with folder("growth") as path:
        with running(path) as server:
            names = one_execution(server, path)
            database_path = Outbox(server).path
        database = sqlite3.connect(database_path)
        copier = Copier.of(database, names["execution"])
        for size in SIZES:
            copier.grow(size)
            count = database.execute("SELECT count(*) FROM documents").fetchone()[0]
            begun = time.perf_counter()
            with running(path) as again:
                ready_ms = (time.perf_counter() - begun) * 1000
                wire = Wire(again, load)
                asked = operations(wire, names)
                found = {name: [] for name in asked}
                for _ in range(ROUNDS):
                    for name, requests in asked.items():
                        found[name].append(wire.measure(requests, 1, SECONDS)["median_us"] / 1000)
                columns[size] = found
                facts[size] = [count, database_path.stat().st_size / 2**20, ready_ms, memory_mib(again.process)]
        database.close()
    show(report, columns, facts)


def show(report, columns, facts):
    heads = ["past executions", *(f"{size:,}" for size in SIZES), f"{SIZES[-1]:,} to {SIZES[1]:,}"]
    rows = []
    for name in columns[SIZES[0]]:
        ratio = median(columns[SIZES[-1]][name]) / median(columns[SIZES[1]][name])
        rows.append([name, *(f"{median(columns[size][name]):.2f}" for size in SIZES), f"{ratio:.2f} x"])
    for at, (name, digits) in enumerate([("documents", 0), ("database, MiB", 0), ("start to ready, ms", 0), ("memory, MiB", 0)]):
        rows.append([name, *(f"{facts[size][at]:,.{digits}f}" for size in SIZES), ""])
    report.table(heads, rows)
    report.keep("growth", {str(size): {"milliseconds": columns[size], "documents_mib_ready_memory": facts[size]}
                           for size in SIZES})
