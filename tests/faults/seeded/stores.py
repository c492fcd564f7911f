"""What a run's server keeps its truth in: SQLite and a folder, or a PostgreSQL that can be killed and an S3.

Both answer the same questions, from outside of the server: which jobs there are, which blobs are named, and which
are there.
"""

import contextlib
import json
import sqlite3
import subprocess
import threading
import time

from nodes import Node, shared
from postgres import Postgres
from server import Server

BUCKET = "objects"


class Sqlite:
    """A server alone: everything is in its data folder."""

    name = "sqlite"
    schema = ""

    def __init__(self, folder, environment, _):
        self.server = Server(folder, environment=environment)

    def rows(self, statement):
        with contextlib.closing(sqlite3.connect(self.server.data / "store/towpath.db", timeout=20)) as database:
            return database.execute(statement).fetchall()

    def is_whole(self):
        """What SQLite finds wrong with the database of a server that has ended."""
        told = self.rows("PRAGMA integrity_check")
        return [] if told == [("ok",)] else [f"integrity_check: {told}"]

    def blobs(self):
        """{name: bytes} of all content that is there."""
        homes = [home for home in (self.server.data / "objects").iterdir() if home.name not in ("files", "tmp")]
        return {path.name: path.stat().st_size for home in homes for path in home.iterdir()}

    def stop(self):
        self.server.stop()


class Cluster:
    """A node: its truth is in a PostgreSQL of the run's own, its objects are in the S3 of another Towpath."""

    name = "postgres"
    schema = "towpath."

    def __init__(self, folder, environment, machine):
        """`machine`: the environment of programs that live by the machine's clock."""
        self.hands = threading.Lock()
        self.postgres = Postgres()
        try:
            (folder / "store").mkdir()
            self.store = Server(folder / "store", environment=machine).start()
            common = shared(self.postgres, self.store, BUCKET)
        except BaseException:
            self.postgres.stop()
            raise
        self.database = common["TOWPATH_DATABASE"].rsplit("/", 1)[1]
        self.server = Node(folder, "node", common, environment=environment)

    def kill(self, dead_s):
        """kill -9 of the database, every process of it."""
        with self.hands:
            self.postgres.kill()
            time.sleep(dead_s)
            self.postgres.start()

    def rows(self, statement):
        """As SQLite answers them; booleans and the like are the caller's to avoid."""
        told = self.postgres.sql(f"SELECT json_agg(row_to_json(one)) FROM ({statement}) AS one", self.database)
        return [tuple(row.values()) for row in json.loads(told or "null") or []]

    def is_whole(self):
        """What PostgreSQL finds wrong with tables and indexes, each compared with the other."""
        words = [self.postgres.bin / "pg_amcheck", "--install-missing", "--heapallindexed", "--parent-check",
                 "-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", "postgres", "-d", self.database]
        done = subprocess.run(words, env=self.postgres.environment(), capture_output=True, text=True, check=False)
        return [] if done.returncode == 0 else [f"pg_amcheck: {done.stdout}{done.stderr}"]

    def blobs(self):
        pages = self.store.client("s3").get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix="towpath/blobs/")
        return {one["Key"].rsplit("/", 1)[1]: one["Size"] for page in pages for one in page.get("Contents", [])}

    def stop(self):
        try:
            self.server.stop()
        finally:
            try:
                self.store.stop()
            finally:
                self.postgres.stop()


STORES = {one.name: one for one in (Sqlite, Cluster)}
