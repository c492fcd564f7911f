"""Several nodes over one real PostgreSQL and one real S3: another Towpath."""

import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile

from server import Server, free_port, wait_for


class Postgres:
    """A cluster in a folder of its own, as Debian's programs make it. PostgreSQL refuses to be root."""

    def __init__(self):
        self.bin = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda found: int(found.parent.name))
        self.user = "postgres" if os.geteuid() == 0 else None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="towpath-postgres-"))
        self.port = free_port()
        self.password = secrets.token_hex(16)
        if self.user:
            shutil.chown(self.folder, self.user)
        words = self.folder / "password"
        words.write_text(self.password)
        if self.user:
            shutil.chown(words, self.user)
        self.run("initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", words,
                 "-E", "UTF8", "--locale=C", "--no-sync")
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [self.bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
             "-c", "unix_socket_directories=", "-c", "shared_buffers=32MB"],
            stdout=log, stderr=log, user=self.user, start_new_session=True, cwd="/")
        log.close()
        wait_for(self.is_ready, "PostgreSQL is ready", every=0.1)

    def run(self, program, *words):
        done = subprocess.run([self.bin / program, *map(str, words)], capture_output=True, text=True, user=self.user,
                              cwd="/", env=os.environ | {"PGPASSWORD": self.password})
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended: {(self.folder / 'log').read_text()[-2000:]}")
        asked = subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)])
        return asked.returncode == 0

    def database(self):
        """A new one; its URL."""
        name = f"t{secrets.token_hex(4)}"
        self.run("psql", "-X", "-q", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-c", f"CREATE DATABASE {name}")
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{name}"

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Node(Server):
    """One `towpath server`."""

    command = "server"

    def __init__(self, folder, name, shared, extra=(), environment=None):
        folder = pathlib.Path(folder) / name
        folder.mkdir()
        super().__init__(folder, extra=["--name", name, *extra], environment=shared | (environment or {}))
        self.name = name

    def freeze(self):
        """The process stops where it is; its sandboxes go on."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.thaw()
        super().stop()


def shared(postgres, store, bucket, key=None):
    """The environment that all nodes of one cluster have."""
    access, secret = store.root_keys()
    store.client("s3").create_bucket(Bucket=bucket)
    return {
        "TOWPATH_DATABASE": postgres.database(),
        "TOWPATH_OBJECTS": f"s3://{bucket}/towpath?endpoint={store.url}&region=us-east-1&access-key-id={access}"
                           f"&secret-access-key={secret.replace('+', '%2B').replace('/', '%2F')}",
        "TOWPATH_CLUSTER_KEY": key or secrets.token_hex(32),
    }
