"""Nodes of different versions: what an older one does when a newer one has had the database.

A newer version is told by what it leaves in the database: its schema's number, and the oldest one that may go on.
"""

import sqlite3

from accounts import Account
from test_nodes import cluster, postgres, refused, store  # noqa: F401 (fixtures)

NEWER = "was written by a newer version (schema 99, this one knows"


def leave_behind(postgres, cluster, schema, oldest_reader):  # noqa: F811
    """As the migration of a newer version does."""
    database = cluster.common["TOWPATH_DATABASE"].rsplit("/", 1)[1]
    postgres.sql(f"UPDATE towpath.meta SET value = {schema} WHERE name = 'schema';"
                 f"UPDATE towpath.meta SET value = {oldest_reader} WHERE name = 'oldest_reader'", database)


def test_an_older_node_works_beside_a_newer_one_or_ends_and_says_why(cluster, postgres):  # noqa: F811
    a, b = cluster("a").start(), cluster("b")
    bucket = Account(a, "v").bucket()
    # The newer one only added to what is there: older ones go on, and may start.
    leave_behind(postgres, cluster, 99, 1)
    b.start()
    b.client("s3").put_object(Bucket=bucket, Key="k", Body=b"of b")
    assert a.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"of b"
    b.stop()
    # It changed what is there: an older one does not start, and one that runs ends by itself.
    leave_behind(postgres, cluster, 99, 99)
    told = refused(b)
    assert NEWER in told and "use that version" in told, told
    assert a.process.wait(timeout=60) != 0
    assert NEWER in a.log() and "the database was taken over by a newer version" in a.log()
    assert NEWER in refused(a)
    # As it was, it is as good as before: neither changed anything.
    leave_behind(postgres, cluster, 1, 1)
    a.start()
    assert a.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"of b"


def test_an_older_server_leaves_a_newer_ones_folder_alone(own_server):
    bucket = Account(own_server, "v").bucket()
    own_server.stop()

    def leave(schema, oldest_reader):
        with sqlite3.connect(own_server.data / "store/towpath.db") as database:
            database.execute(f"PRAGMA user_version = {schema}")
            database.execute("UPDATE counters SET value = ? WHERE name = 'oldest_reader'", [oldest_reader])
        database.close()

    leave(99, 1)
    own_server.start()
    own_server.client("s3").put_object(Bucket=bucket, Key="k", Body=b"k")
    own_server.stop()
    leave(99, 99)
    before = len(own_server.log())
    own_server.begin()
    assert own_server.process.wait(timeout=60) != 0
    assert NEWER in own_server.log()[before:], own_server.log()[before:]
    leave(1, 1)
    own_server.start()
    assert own_server.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b"k"
