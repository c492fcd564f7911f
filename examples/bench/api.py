"""The API under load, beside moto_server; reads also beside the server's own health answer, and durable writes
beside a bare write+fsync loop.

Requests are signed by botocore, once, and replayed by the load generator, one client and 64 of them. It keeps
connections where the server does.
"""

import json
import os
import subprocess
import tempfile
import time

import botocore.auth
import botocore.awsrequest
import botocore.credentials

import moto
import operations
from report import median, spread
from world import folder, running

ROUNDS, SECONDS = 3, 2.0
CLIENTS = (1, operations.MOST_CLIENTS)
# What moto answers with an error: compared with what it has that is nearest and cheapest.
INSTEAD = {"GetPipelineState": "GetPipeline"}
NOT_COMPARED = {"BatchGetBuilds": "moto adds to the build whenever it is asked for it, and so slows down without bound"}
HEALTH, BARE = "GET /_towpath/health (no API)", "bare write + fdatasync (one writer)"


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
            # The generator gives up by itself long before; this is for a generator that does not.
            done = subprocess.run([self.load, "bench-load", plan.name], capture_output=True, text=True,
                                  timeout=seconds + 60)
        if done.returncode != 0:
            raise SystemExit(f"{requests[0].splitlines()[0]}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def bare_fsyncs(path, seconds=SECONDS, block=4096, blocks=1024):
    """Writing 4 KiB over what is there and fdatasync, again and again, as a log is written that has its size: what
    the disk allows one writer."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    os.pwrite(descriptor, b"x" * (block * blocks), 0)
    os.fsync(descriptor)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        os.pwrite(descriptor, b"y" * block, count % blocks * block)
        os.fdatasync(descriptor)
        count += 1
    os.close(descriptor)
    return {"rate": count / (time.perf_counter() - started)}


class Side:
    """One server with its things in it."""

    def __init__(self, server, load):
        self.wire = Wire(server, load)
        self.things = operations.Things(server)


def run(report, load):
    report.title(f"api: replayed signed requests, {ROUNDS} rounds of {SECONDS:.0f} s each, interleaved")
    if not load:
        report.say("  not measured: no load generator was given (--load)")
        return
    with folder("api") as path, running(path) as server:
        if not moto.is_installed():
            report.say("  moto_server: not measured, it is not installed")
            return compare(report, path, Side(server, load), None)
        with moto.Moto(path) as reference:
            compare(report, path, Side(server, load), Side(reference, load))


def compare(report, path, ours, theirs):
    health = lambda clients: ours.wire.measure([ours.wire.health()], clients)
    bare = lambda clients: bare_fsyncs(path / "bare") if clients == 1 else None
    for kind, least, name, reference, made in (
        ("read", 20, HEALTH, health, operations.reads), ("durable write", 10, BARE, bare, operations.writes),
    ):
        wanted = made(ours.wire, ours.things)
        beside = made(theirs.wire, theirs.things) if theirs else {}
        found = gather(ours, theirs, wanted, beside, (name, reference))
        show(report, kind, least, found)
        report.keep(f"api: {kind}", {f"{name}, {clients} clients": rounds for (name, clients), rounds in found.items()})


def gather(ours, theirs, wanted, beside, reference):
    """{(operation, clients): [(our measurement, theirs or None) of each round]}"""
    name, measured = reference
    found = {}
    for number in range(ROUNDS):
        for clients in CLIENTS:
            found.setdefault((name, clients), []).append((measured(clients), None))
            for operation, requests in wanted.items():
                same = None if operation in NOT_COMPARED else beside.get(INSTEAD.get(operation, operation))
                ways = [lambda: ours.wire.measure(requests, clients),
                        lambda: same and theirs.wire.measure(same, clients)]
                # The first of a round takes turns.
                if number % 2 == 0:
                    pair = ways[0](), ways[1]()
                else:
                    pair = tuple(reversed([ways[1](), ways[0]()]))
                found.setdefault((operation, clients), []).append(pair)
    return {key: rounds for key, rounds in found.items() if rounds[0][0]}


def milliseconds(measured, which):
    return f"{median([one[which] for one in measured]) / 1000:.2f}" if which in measured[0] else ""


def show(report, kind, least, found):
    rows, ratios = [], {}
    limit = [one["rate"] for one, _ in found.get((BARE, 1), [])]
    for (name, clients), rounds in found.items():
        ours = [one for one, _ in rounds]
        row = [name, clients, spread([one["rate"] for one in ours], 0), milliseconds(ours, "median_us"),
               milliseconds(ours, "p99_us")]
        if rounds[0][1]:
            theirs = [one for _, one in rounds]
            ratios[name, clients] = median([one["rate"] / other["rate"] for one, other in rounds])
            row += [spread([one["rate"] for one in theirs], 0), milliseconds(theirs, "p99_us"),
                    f"{ratios[name, clients]:.1f} x" + (" *" if name in INSTEAD else "")]
        row += [""] * (8 - len(row))
        if limit and clients == 1:
            row.append(f"{median([one['rate'] / other for one, other in zip(ours, limit)]):.2f} x")
        rows.append(row)
    rows.sort(key=lambda row: row[1])
    heads = [kind, "clients", "per second", "median ms", "p99 ms", "moto's per second", "moto's p99 ms", "ratio"]
    heads += ["of the disk's limit"] if limit else []
    report.table(heads, [row + [""] * (len(heads) - len(row)) for row in rows])
    for name in sorted({name for name, _ in ratios} & set(INSTEAD)):
        report.say(f"  * moto has no {name}: beside its {INSTEAD[name]}")
    for name in sorted({name for name, _ in found} & set(NOT_COMPARED)):
        report.say(f"  {name}, not compared: {NOT_COMPARED[name]}")
    for clients in CLIENTS:
        here = {name: ratio for (name, among), ratio in ratios.items() if among == clients}
        missed = [f"{name} {ratio:.1f} x" for name, ratio in here.items() if ratio < least]
        if here:
            told = f" ({', '.join(missed)})" if missed else ""
            report.goal(f"{kind}s at least {least} times moto_server's rate, {clients} clients{told}", not missed)
