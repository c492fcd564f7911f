"""Disk stays bounded: what is past its time goes, also when the server is killed over it, and content that nobody names."""

import importlib.util
import json
import os
import pathlib
import sqlite3
import time

from accounts import Account
from server import wait_for
from test_nodes import MOVED, cluster, postgres, store  # noqa: F401 (fixtures)
from watch import Pipe, build_action, commit_to, source_action

SPEC = importlib.util.spec_from_file_location("copies", pathlib.Path(__file__).parents[2] / "examples/bench/copies.py")
copies = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(copies)

YEARS_MS = 2 * 365 * 24 * 3_600_000
OLD = 400


def one_execution(account):
    """An execution with a build, of the kind whose copies make a history; answers its pipeline and its id."""
    repository, _ = account.repository()
    project = account.project(source={"type": "CODEPIPELINE"}, artifacts={"type": "CODEPIPELINE"})
    pipe = Pipe(account, account.pipeline([("Source", [source_action(repository)]), ("Build", [build_action(project)])]))
    pipe.wait(pipe.nth(1), "Failed")
    commit_to(account, repository, {"buildspec.yml": "version: 0.2\nphases: {build: {commands: ['true']}}\n"
                                                     "artifacts: {files: ['**/*']}\n"})
    execution = pipe.nth(2)
    pipe.wait(execution, timeout=MOVED)
    return pipe, execution


def old_documents(copier, size):
    while copier.made < size:
        for kind, key, body in copier.copy():
            if kind in copies.FORGOTTEN:
                yield kind, copies.aged(key, YEARS_MS), copies.aged(body, YEARS_MS)


def goes_on(account, pipe, execution):
    """The young history is whole, and the pipeline runs."""
    pipe = Pipe(account, pipe.name)
    assert [one["status"] for one in pipe.executions()] == ["Succeeded", "Failed"]
    assert {one["actionName"] for one in pipe.actions(execution)} == {"Source", "Build"}
    build = pipe.action(execution, "Build")["output"]["executionResult"]["externalExecutionId"]
    assert account.codebuild.batch_get_builds(ids=[build])["builds"][0]["buildStatus"] == "SUCCEEDED"
    pipe.wait(pipe.start(), timeout=MOVED)


def test_forgetting_goes_on_after_kill_9(own_server):
    pipe, execution = one_execution(Account(own_server, "t"))
    own_server.stop()
    with sqlite3.connect(own_server.data / "store/towpath.db", isolation_level=None) as database:
        kept = count_in(database)
        copier = copies.Copier.of(database, execution)
        copier.grow(OLD, lambda *row: (row[0], *(copies.aged(text, YEARS_MS) for text in row[1:])) if row[0] in copies.FORGOTTEN else None)
        whole = count_in(database)
        assert whole > kept + 5 * OLD
        # Killed whenever it has done a part more, until nothing is left to do.
        killed, before = 0, whole
        own_server.start()
        deadline = time.monotonic() + 180
        while (now := count_in(database)) > kept:
            assert time.monotonic() < deadline, f"{now - kept} of {whole - kept} documents are left"
            if now <= before - (whole - kept) // 5:
                own_server.restart()
                killed, before = killed + 1, now
            time.sleep(0.002)
        assert killed, "too fast to be interrupted"
        assert count_in(database) == kept, "nothing went that is young"
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    goes_on(Account(own_server, "s"), pipe, execution)


def count_in(database):
    return database.execute(f"SELECT count(*) FROM documents WHERE {copies.chosen(copies.FORGOTTEN)}").fetchone()[0]


def test_nodes_forget_together_and_one_may_die(cluster, postgres):  # noqa: F811
    a = cluster("a").start()
    pipe, execution = one_execution(Account(a, "t"))
    a.stop()
    database = a.environment["TOWPATH_DATABASE"].rsplit("/", 1)[1]
    where = copies.chosen(copies.FORGOTTEN)

    def count():
        return int(postgres.sql(f"SELECT count(*) FROM towpath.documents WHERE {where}", database))

    kept = count()
    listed = postgres.sql("SELECT json_build_array(kind, key, body) FROM towpath.documents "
                          f"WHERE {copies.chosen(copies.COPIED)}", database)
    copier = copies.Copier([json.loads(line) for line in listed.splitlines()], execution)
    text = json.dumps(list(old_documents(copier, OLD)))
    postgres.script("INSERT INTO towpath.documents (kind, key, version, body) SELECT row->>0, row->>1, nextval('towpath.tick'), row->>2 "
                    f"FROM json_array_elements($towpath${text}$towpath$::json) AS row ON CONFLICT DO NOTHING", database)
    whole = count()
    assert whole > kept + 5 * OLD
    nodes = [a, cluster("b"), cluster("c")]
    for node in nodes:
        node.begin()
    for node in nodes:
        node.ready()
    # Whichever of them is at it: the others go on when its lease is over.
    wait_for(lambda: count() < whole, "forgetting has begun", MOVED)
    a.kill()
    wait_for(lambda: count() <= kept, "all is forgotten", MOVED)
    assert count() == kept, "nothing went that is young"
    goes_on(Account(nodes[1], "s"), pipe, execution)


HOURS = 3600


def blobs_in(data):
    return {path for path in (data / "objects").glob("??/*") if path.is_file()}


def test_content_that_nobody_names_goes_after_six_hours(own_server):
    account = Account(own_server, "t")
    bucket = account.bucket()
    # Larger than what the database keeps.
    content = b"named, and old" * 2000
    account.s3.put_object(Bucket=bucket, Key="named", Body=content)
    named = blobs_in(own_server.data)
    account.s3.put_object(Bucket=bucket, Key="deleted", Body=content[1:])
    account.s3.delete_object(Bucket=bucket, Key="deleted")
    wait_for(lambda: blobs_in(own_server.data) == named, "deleted content goes at once")
    own_server.stop()
    # As a crash between writing content and recording it leaves it: one long ago, one just now.
    (one,) = named
    left = [one.with_name(one.name[:2] + number * (len(one.name) - 2)) for number in "ab"]
    for path in left:
        path.write_bytes(b"nobody's")
    for path in (one, left[0]):
        then = time.time() - 7 * HOURS
        os.utime(path, (then, then))
    own_server.start()
    wait_for(lambda: not left[0].exists(), "what nobody named for seven hours goes")
    wait_for(lambda: "removed content that no record named" in own_server.log(), "the sweep is over")
    assert blobs_in(own_server.data) == {one, left[1]}
    assert account.s3.get_object(Bucket=bucket, Key="named")["Body"].read() == content
    # A day later, as the sweep sees it.
    then = time.time() - 7 * HOURS
    os.utime(left[1], (then, then))
    own_server.restart()
    wait_for(lambda: blobs_in(own_server.data) == named, "and the other in its time")
