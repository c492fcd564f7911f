"""What a run leaves behind: nothing on the machine, no work in the store, no content that is lost or never removed."""

import json
import os

from footprint import Footprint
from server import wait_for

# Jobs that are always there, for a later time. Any other is work that somebody waits for.
ROUNDS = {"s3.sweep", "codepipeline/history", "codebuild/history", "codedeploy/history"}
# On a cluster, replaced content stays for some hours, for the sake of backups, and goes by such a job.
RELEASES = "s3.release"
LATER_MS = 3600 * 1000
# What a run writes is a few megabytes; SQLite's journal may have grown in it.
MAX_DISK_BYTES = 48 << 20
# Content that was written and never named, for each time that a server or a database died, ran full or was cut
# off: what four writers, two actions and the network's doubles had under way.
MAX_UNNAMED = 8
# When content is old enough for the sweep.
LONG_AGO = (10 ** 9, 10 ** 9)


def folders(world):
    """What still is on the disk of a server that has nothing to do; its hosts are gone."""
    data = world.server.data
    empty = [data / name for name in (
        "sandboxes/run", "sandboxes/trash", "codebuild/builds", "scratch/codepipeline", "scratch/codedeploy",
        "objects/tmp", "codecommit/pushes", "codecommit/trash")]
    found = [str(entry) for folder in empty if folder.exists() for entry in folder.iterdir()]
    found += [str(path) for path in (data / "codecommit").rglob("*") if path.name.startswith(("incoming-", "tmp_objdir"))
              or path.suffix == ".lock" and path.name != "upkeep.lock"]  # that one is held, not made and removed
    server = Footprint(world.server)
    found += [f"a sandbox's process {pid}" for pid in server.sandboxed]
    return found


def jobs(world):
    """Jobs that are held, or due, or nobody's rounds, although everything has ended."""
    schema = world.store.schema
    # The store's own time, which may be far from the machine's after its clock was set.
    (now,), = world.store.rows(f"SELECT max(emitted_at) FROM {schema}outbox")
    later = ROUNDS | ({RELEASES} if world.plan.store == "postgres" else set())
    held = world.store.rows(f"SELECT queue, key, run_at, lease_owner, attempt FROM {schema}jobs")
    return [f"job {queue} {key!r}, attempt {attempt}, due in {(due - now) / 1000:.0f} s, held by {owner}"
            for queue, key, due, owner, attempt in held if owner or queue not in later or due < now + LATER_MS]


def documents(world, kind):
    rows = world.store.rows(f"SELECT body FROM {world.store.schema}documents WHERE kind = '{kind}'")
    return [json.loads(body) if isinstance(body, str) else body for body, in rows]


def content(world):
    """(what is wrong, how much content nobody names)."""
    there = world.store.blobs()
    wrong = []
    entries = [one["entry"] for one in documents(world, "s3.version")]
    pieces = [piece for entry in entries if entry != "DeleteMarker" for piece in entry["Object"]["pieces"]]
    wrong += [f"an object's content is {there.get(one['blob'])} bytes and should be {one['size_bytes']}"
              for one in pieces if there.get(one["blob"]) != one["size_bytes"]]
    uses = {(one["blob"], one["owner"]) for one in documents(world, "s3.blob-use")}
    named = {blob for blob, _ in uses}
    jobs = world.store.rows(f"SELECT queue, key FROM {world.store.schema}jobs")
    kept = uses - {tuple(key.split("\x1f", 1)) for queue, key in jobs if queue == RELEASES}
    if {blob for blob, _ in kept} != {one["blob"] for one in pieces}:
        wrong.append(f"of {len(pieces)} pieces of objects and {len(kept)} names of content, some have no other half")
    return wrong, sorted(set(there) - named)


def disk(folder):
    """Bytes that a folder takes."""
    total = 0
    for entry in os.scandir(folder):
        total += entry.stat(follow_symlinks=False).st_blocks * 512
        if entry.is_dir(follow_symlinks=False):
            total += disk(entry)
    return total


def sweep(world, unnamed):
    """A server that starts when the content has grown old removes what nobody names, and nothing else."""
    before = world.store.blobs()
    for path in (world.server.data / "objects").rglob("*"):
        if path.name in before:
            os.utime(path, LONG_AGO)
    world.start()
    try:
        wait_for(lambda: not set(unnamed) & set(world.store.blobs()), "unnamed content is removed", timeout=20)
        wrong = []
    except AssertionError as error:
        wrong = [str(error)]
    world.server.stop()
    kept, wanted = set(world.store.blobs()), set(before) - set(unnamed)
    return wrong + ([] if kept == wanted else [f"the sweep left {len(kept)} of {len(wanted)} blobs that are named"])
