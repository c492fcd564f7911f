"""The API under load: reads beside the server's own health answer, durable writes beside a bare write+fsync loop.

Requests are signed by botocore, once, and replayed over keep-alive connections by the load generator.
"""

import json
import os
import subprocess
import tempfile
import time

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from report import median, spread
from world import Account, action, folder, running

ROUNDS, SECONDS = 3, 2.0
CLIENTS = (1, 64)


class Wire:
    """Signed requests as bytes, and the generator that sends them."""

    def __init__(self, server, load):
        self.server, self.load = server, load
        self.credentials = botocore.credentials.Credentials(*server.root_keys())
        self.address = server.url.removeprefix("http://")

    def request(self, method, path, service, body="", headers=None):
        asked = botocore.awsrequest.AWSRequest(method, self.server.url + path, data=body, headers=headers or {})
        signer = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        signer(self.credentials, service, "us-east-1").add_auth(asked)
        lines = [f"{name}: {value}" for name, value in asked.headers.items() if name.lower() != "content-length"]
        return "\r\n".join([f"{method} {path} HTTP/1.1", f"host: {self.address}", *lines,
                            f"content-length: {len(body)}", "", body])

    def json(self, service, target, members):
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target}
        return self.request("POST", "/", service, json.dumps(members), headers)

    def health(self):
        return f"GET /_towpath/health HTTP/1.1\r\nhost: {self.address}\r\n\r\n"

    def measure(self, requests, connections, seconds=SECONDS):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
            json.dump({"address": self.address, "connections": connections, "seconds": seconds,
                       "requests": requests}, plan)
            plan.flush()
            done = subprocess.run([self.load, "bench-load", plan.name], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{requests[0].splitlines()[0]}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def bare_fsyncs(path, seconds=SECONDS):
    """Appending 512 bytes and fdatasync, again and again: what the disk allows one writer."""
    descriptor, count, started = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        os.write(descriptor, b"x" * 512)
        os.fdatasync(descriptor)
        count += 1
    os.close(descriptor)
    return count / (time.perf_counter() - started)


def one_pipeline(server):
    account = Account(server, "api")
    application = account.role("codepipeline")
    bucket = account.bucket()
    names = [account.pipeline([
        ("Source", [action("Source", "Source", "S3", {"S3Bucket": bucket, "S3ObjectKey": "in.zip",
                                                      "PollForSourceChanges": "false"}, outputs=["source"])]),
        ("Approve", [action("Approve", "Approval", "Manual")])], role=application, suffix=f"p{number}", bucket=bucket)
        for number in range(10)]
    account.logs.create_log_group(logGroupName="bench")
    for number in range(max(CLIENTS)):
        account.logs.create_log_stream(logGroupName="bench", logStreamName=f"s{number}")
    return bucket, names[0]


def run(report, load):
    report.title(f"api: replayed signed requests, {ROUNDS} rounds of {SECONDS:.0f} s each, interleaved")
    if not load:
        report.say("  not measured: no load generator was given (--load)")
        return
    with folder("api") as path, running(path) as server:
        bucket, pipeline = one_pipeline(server)
        wire = Wire(server, load)
        many = range(max(CLIENTS))
        event = lambda: {"timestamp": int(time.time() * 1000), "message": "a line of a build's log, as long as most are"}
        reads = {
            "GET /_towpath/health (reference)": [wire.health()],
            "GetPipelineState": [wire.json("codepipeline", "CodePipeline_20150709.GetPipelineState", {"name": pipeline})],
            "ListPipelines": [wire.json("codepipeline", "CodePipeline_20150709.ListPipelines", {})],
        }
        writes = {
            "PutObject, 512 bytes": [wire.request("PUT", f"/{bucket}/key-{n}", "s3", "x" * 512) for n in many],
            "PutLogEvents, one line": [wire.json("logs", "Logs_20140328.PutLogEvents", {
                "logGroupName": "bench", "logStreamName": f"s{n}", "logEvents": [event()]}) for n in many],
            "TagUser": tag_requests(server, wire, many),
        }
        show_reads(report, wire, reads)
        show_writes(report, wire, writes, path)


def tag_requests(server, wire, many):
    """A change of one document of identity, each client its own user."""
    iam, requests = server.client("iam"), []
    for number in many:
        iam.create_user(UserName=f"bench-{number}")
        body = f"Action=TagUser&Version=2010-05-08&UserName=bench-{number}&Tags.member.1.Key=a&Tags.member.1.Value=b"
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        requests.append(wire.request("POST", "/", "iam", body, headers))
    return requests


def gather(wire, operations, before=lambda: None):
    """{(operation, clients): [measurement of each round]}"""
    found = {(name, clients): [] for name in operations for clients in CLIENTS}
    for _ in range(ROUNDS):
        before()
        for name, clients in found:
            found[name, clients].append(wire.measure(operations[name], clients))
    return found


def cells(measured):
    return [spread([one["rate"] for one in measured], 0),
            f"{median([one['median_us'] for one in measured]) / 1000:.2f}",
            f"{median([one['p99_us'] for one in measured]) / 1000:.2f}"]


def show_reads(report, wire, reads):
    found = gather(wire, reads)
    reference = next(iter(reads))
    rows = []
    for (name, clients), measured in found.items():
        ratio = median([ours["rate"] / theirs["rate"] for ours, theirs in zip(measured, found[reference, clients])])
        rows.append([name, clients, *cells(measured), f"{ratio:.2f} x"])
    report.table(["read", "clients", "per second", "median ms", "p99 ms", "of health"], rows)
    report.keep("api_reads", {f"{name}, {clients} clients": measured for (name, clients), measured in found.items()})


def show_writes(report, wire, writes, path):
    bare = []
    found = gather(wire, writes, before=lambda: bare.append(bare_fsyncs(path / "bare")))
    rows = [["bare write + fdatasync (reference)", 1, spread(bare, 0), f"{1000 / median(bare):.2f}", "", "1.00 x"]]
    for (name, clients), measured in found.items():
        ratio = median([ours["rate"] / theirs for ours, theirs in zip(measured, bare)])
        rows.append([name, clients, *cells(measured), f"{ratio:.2f} x"])
    report.table(["durable write", "clients", "per second", "median ms", "p99 ms", "of bare"], rows)
    report.keep("api_writes", {"bare_per_second": bare} | {
        f"{name}, {clients} clients": measured for (name, clients), measured in found.items()})
