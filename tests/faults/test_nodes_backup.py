"""A cluster is backed up with the tools of its database and its object store: `docs/configuration.md` has the commands."""

import os
import subprocess

from accounts import Account
from kept import check, fill
from nodes import Node
from server import wait_for
from test_backup import Busy, body_of
from test_nodes import cluster, postgres, store  # noqa: F401 (fixtures)

# Too large to be kept in the database.
STILL_THERE = b"still in the backup" * 1000


def run(*words, **environment):
    done = subprocess.run([str(word) for word in words], env=os.environ | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def test_a_dump_and_then_a_copy_of_the_objects_are_a_whole_backup(cluster, postgres, store, tmp_path):  # noqa: F811
    a = cluster("a").start()
    facts = fill(a)
    team = Account(a, "busy")
    busy = Busy(team)
    bucket, database = cluster.common["TOWPATH_OBJECTS"].split("/")[2], cluster.common["TOWPATH_DATABASE"]
    try:
        busy.begun()
        team.s3.put_object(Bucket=busy.bucket, Key="deleted-meanwhile", Body=STILL_THERE)
        before = len(busy.written)
        run(postgres.bin / "pg_dump", "--format=custom", "--file", tmp_path / "towpath.dump", database)
        # Between the two everything goes on.
        team.s3.delete_object(Bucket=busy.bucket, Key="deleted-meanwhile")
        for one in team.s3.list_object_versions(Bucket=facts["bucket"], Prefix="large")["Versions"]:
            team.s3.delete_object(Bucket=facts["bucket"], Key="large", VersionId=one["VersionId"])
        wait_for(lambda: len(busy.written) >= before + 9, "more is written and deleted")
        store.client("s3").create_bucket(Bucket=f"copy-{bucket}")
        run("aws", "s3", "sync", "--quiet", f"s3://{bucket}/towpath", f"s3://copy-{bucket}/towpath", **store.env())
    finally:
        busy.end()
    a.stop()

    restored = postgres.database()
    run(postgres.bin / "pg_restore", "--no-owner", "--exit-on-error", "--dbname", restored, tmp_path / "towpath.dump")
    objects = cluster.common["TOWPATH_OBJECTS"].replace(f"s3://{bucket}/", f"s3://copy-{bucket}/")
    b = Node(tmp_path, "restored", cluster.common | {"TOWPATH_DATABASE": restored, "TOWPATH_OBJECTS": objects}).start()
    try:
        check(b, facts, tmp_path / "checkout")
        again = Account(b, "again")
        there = {one["Key"] for page in again.s3.get_paginator("list_objects_v2").paginate(Bucket=busy.bucket)
                 for one in page.get("Contents", [])}
        kept = {key for at, key in enumerate(busy.written[:before], 1) if isinstance(key, str) and int(key[1:]) % 3}
        assert kept | {"deleted-meanwhile"} <= there, "what was acknowledged before the dump is in it"
        for key in sorted(there):
            expected = STILL_THERE if key == "deleted-meanwhile" else body_of(key)
            assert again.s3.get_object(Bucket=busy.bucket, Key=key)["Body"].read() == expected
        folder = again.checkout(tmp_path / "busy", f"{b.url}/v1/repos/{busy.repository}", again.git_user())
        again.git(folder, "fetch", "-q", "origin")
        again.git(folder, "fsck", "--strict")
        head = again.codecommit.get_branch(repositoryName=busy.repository, branchName="main")["branch"]["commitId"]
        assert again.git(folder, "rev-parse", "origin/main").stdout.strip() == head
    finally:
        b.stop()


def test_a_nodes_folder_is_not_backed_up(cluster, tmp_path):  # noqa: F811
    """It has nothing that is not in the database and the object store; who tries is told what to do."""
    a = cluster("a").start()
    refused = a.towpath("backup", tmp_path / "backup.tar", "--data", a.data, check=False)
    assert refused.returncode == 1 and "pg_dump" in refused.stderr, refused.stderr
    assert not (tmp_path / "backup.tar").exists()
