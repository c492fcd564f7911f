"""PostgreSQL for tests: a cluster of a test's own, from Debian's package `postgresql`.

As `tests/cluster` is for Rust: it runs as the user `postgres` where the test is root, listens on the loopback
address on a port of its own, asks for a password, and syncs to the disk. A shell watches over it: when the
test process ends, however it ends, the cluster is killed and its folder removed.
"""

import contextlib
import os
import pathlib
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time

WATCH = """
trap '' INT TERM HUP
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && grep -qs postgres "/proc/$pid/comm"; then
    kill -CONT "$pid"; kill -QUIT "$pid"
    for i in $(seq 100); do [ -e "/proc/$pid" ] || break; sleep 0.1; done
fi
rm -rf "$1"
"""


def programs():
    """The folder with the programs of the newest of Debian's versions."""
    found = [path for path in pathlib.Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").is_file()]
    assert found, "PostgreSQL is missing: apt-get install postgresql (cargo xtask test does it)"
    return max(found, key=lambda path: int(path.parent.name))


def account():
    """How to start a process as the user that PostgreSQL may run as."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}


def stat(pid):
    """(name, state, parent) of a process, or nothing."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name = text[text.index("(") + 1:text.rindex(")")]
    state, parent = text[text.rindex(")") + 2:].split()[:2]
    return name, state, int(parent)


class Postgres:
    def __init__(self, settings=()):
        self.bin = programs()
        self.account = account()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="towpath-postgres-"))
        self.watch = subprocess.Popen(["sh", "-c", WATCH, "sh", str(self.folder)], stdin=subprocess.PIPE,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      start_new_session=True)
        self.data = self.folder / "data"
        self.password = secrets.token_hex(16)
        self.process = None
        self.databases = 0
        password = self.folder / "password"
        password.write_text(self.password)
        if self.account:
            for path in (self.folder, password):
                os.chown(path, self.account["user"], self.account["group"])
        made = subprocess.run(
            [self.bin / "initdb", "-D", self.data, "--pwfile", password, "-U", "postgres",
             "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, **self.account)
        assert made.returncode == 0, f"initdb: {made.stderr}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        own = ["listen_addresses = '127.0.0.1'", "unix_socket_directories = ''", "max_connections = 100",
               "shared_buffers = 32MB", "fsync = on", "logging_collector = off", *settings]
        with open(self.data / "postgresql.conf", "a") as file:
            file.write("\n" + "\n".join(own) + "\n")
        self.start()

    def start(self):
        """Starts it where it is not running; waits until it answers."""
        if self.process is None:
            with open(self.folder / "log", "ab") as log:
                self.process = subprocess.Popen(
                    [self.bin / "postgres", "-D", self.data, "-p", str(self.port)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.account)
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        self.wait("PostgreSQL is ready", lambda: subprocess.run(ready).returncode == 0)

    def wait(self, what, condition, timeout=60):
        end = time.monotonic() + timeout
        while not condition():
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"postgres ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout} s: {what}")
            time.sleep(0.02)

    def database(self):
        """A new, empty database; its URL."""
        name = f"test_{self.databases}"
        self.databases += 1
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database):
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def environment(self):
        """For PostgreSQL's own programs."""
        return os.environ | {"PGPASSWORD": self.password}

    def sql(self, statements, database="postgres"):
        """Carries statements out with psql; what they answer, a line for each row."""
        return self.psql(database, "-c", statements)

    def script(self, statements, database="postgres"):
        """The same for statements that are too long for a command line."""
        return self.psql(database, given=statements)

    def psql(self, database, *words, given=None):
        given = {"input": given} if given else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(
            [self.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
             "-U", "postgres", "-p", str(self.port), "-d", database, *words],
            env=self.environment(), capture_output=True, text=True, **given)
        assert done.returncode == 0, f"{words or given}"[:2000] + f": {done.stderr}"
        return done.stdout.rstrip("\n")

    def family(self):
        """The postmaster and its children."""
        parent = self.process.pid
        pids = [int(path.name) for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()]
        return [parent] + [pid for pid in pids if (found := stat(pid)) and found[2] == parent]

    def send(self, number):
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self):
        """kill -9 for every process of it, as a power cut would."""
        if self.process is None:
            return
        # So that it has no more children than these.
        os.kill(self.process.pid, signal.SIGSTOP)
        family = self.family()
        self.send(signal.SIGKILL)
        process, self.process = self.process, None
        process.wait()

        def alive(pid):
            found = stat(pid)
            return found and found[0].startswith("postgres") and found[1] != "Z"

        # The shared memory is free when the last of them is gone.
        self.wait("the killed processes are gone", lambda: not any(alive(pid) for pid in family))

    def freeze(self):
        """Stops it where it is: connections stand, and nobody answers."""
        self.send(signal.SIGSTOP)

    def thaw(self):
        self.send(signal.SIGCONT)

    def restart(self):
        self.kill()
        self.start()

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def stop(self):
        """Ends it and removes its folder."""
        self.kill()
        self.watch.stdin.close()
        self.watch.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
