"""The machine of one run: a server that can be hurt, hosts with agents, the network between them, the clocks."""

import contextlib
import copy
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

from footprint import descendants, name
from server import BIN, wait_for

from . import clock as clocks
from .proxy import Proxy
from .stores import STORES

DISK_BYTES = 256 << 20
ROOT = os.geteuid() == 0


class World:
    def __init__(self, plan, folder, say):
        self.plan = plan
        self.say = say
        self.folder = pathlib.Path(folder)
        self.clock = self.server_clock = None
        self.moved_s = 0.0
        environment, machine = {}, {}
        if plan.has("clock", "skew"):
            library = clocks.built(self.folder)
            self.clock = clocks.Clock(os.environ["SEEDED_CLOCK"], library)
            self.server_clock = clocks.Clock(self.folder / "server-clock", library)
            environment, machine = self.server_clock.environment, self.clock.environment
        self.hosts = {}
        self.mounted = False
        self.store = STORES[plan.store](self.folder, environment, machine)
        self.server = self.store.server
        if plan.has("disk"):
            self.server.data.mkdir()
            options = f"size={DISK_BYTES},mode=700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "towpath-test", self.server.data], check=True)
            self.mounted = True
        self.proxy = Proxy(plan.seed, ("127.0.0.1", self.server.port))
        # The same server, as everybody reaches it.
        self.front = copy.copy(self.server)
        self.front.url, self.front.clients = self.proxy.url, {}
        # Whoever kills, starts, freezes: one after the other.
        self.hands = threading.RLock()
        # What a server cannot start with: a full disk, a database that is away. Now, and how often so far.
        self.hindered = []
        self.hindrances = 0
        self.restarts_s = []

    # ---- the server ------------------------------------------------------------------------------

    def start(self):
        with self.hands:
            begun = time.monotonic()
            while True:
                hindered, before = list(self.hindered), self.hindrances
                try:
                    self.server.start()
                    break
                except AssertionError:
                    # It says so and ends; who watches over it starts it again until it can.
                    if not hindered and self.hindrances == before or self.server.process.poll() in (None, 0):
                        raise
                    self.say("the server does not start")
                    time.sleep(0.1)
            self.front.process = self.server.process
            return time.monotonic() - begun

    def kill(self, dead_s, gently=False):
        with self.hands:
            self.server.stop() if gently else self.server.kill()
            time.sleep(dead_s)
            self.restarts_s.append(self.start())

    def freeze(self, lasts_s):
        with self.hands:
            freeze(self.server.process.pid, lasts_s)

    def supervisors(self):
        """The processes that hold a build's sandbox."""
        server = self.server.process.pid
        return [pid for pid in descendants(server) if pid != server and name(pid).startswith("towpath-sandbox")
                and parent(pid) == server]

    def fill(self, lasts_s):
        """Takes all that the disk has left, to the last byte, for a while."""
        ballast = self.server.data / "ballast"
        until = time.monotonic() + lasts_s
        with self.hindrance("disk"), open(ballast, "wb") as file:
            while time.monotonic() < until:
                for size in (1 << 20, 1 << 12, 1):
                    while True:
                        try:
                            os.write(file.fileno(), b"\0" * size)
                        except OSError:
                            break
                time.sleep(0.02)
            ballast.unlink()

    def kill_database(self, dead_s):
        with self.hindrance("database"):
            self.store.kill(dead_s)

    @contextlib.contextmanager
    def hindrance(self, what):
        self.hindrances += 1
        self.hindered.append(what)
        try:
            yield
        finally:
            self.hindered.remove(what)

    # ---- the time --------------------------------------------------------------------------------

    def jump(self, by_s):
        """The machine's clock is set, its hosts' too."""
        self.moved_s += by_s
        self.clock.move(self.moved_s)
        self.server_clock.move(self.moved_s)
        for host in self.hosts.values():
            host.set_clock(self.moved_s)

    def skew(self, by_s, lasts_s):
        """The server's clock alone goes wrong, for a while."""
        self.server_clock.move(self.moved_s + by_s)
        time.sleep(lasts_s)
        self.server_clock.move(self.moved_s)

    # ---- the hosts -------------------------------------------------------------------------------

    def host_environment(self):
        """Hosts are other machines: their files are on no disk of the server's."""
        environment = self.front.env() | {"TOWPATH_DATA": str(self.folder / "machines")}
        return {key: value for key, value in environment.items() if key != "LD_PRELOAD"}

    def host(self, name, tag):
        self.hosts[name] = Host(self, name, tag)
        return self.hosts[name]

    def end(self):
        """Whatever happened: no process, no mount of the run is left when this returns."""
        if self.server.process and self.server.process.poll() is None:
            self.server.process.send_signal(signal.SIGCONT)
        if self.hosts:
            words = [BIN, "host", "stop", "--all"]
            subprocess.run(words, env=self.host_environment(), capture_output=True, timeout=60, check=False)
        try:
            self.store.stop()
        finally:
            self.proxy.close()
            if self.mounted:
                subprocess.run(["umount", "-l", self.server.data], check=False)

    def discard(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Host:
    """A machine of its own, as `towpath host run` makes it, with an agent."""

    def __init__(self, world, name, tag):
        self.world, self.name = world, name
        done = self.towpath("host", "run", name, "--tag", tag, "--endpoint", world.proxy.url, "--json")
        assert done.returncode == 0, f"towpath host run: {done.stdout}{done.stderr}"
        self.supervisor = int(re.search(r'"supervisor_pid": (\d+)', done.stdout)[1])
        if world.clock:
            self.preload()

    def towpath(self, *words, **more):
        more = {"text": True} | more
        return subprocess.run([BIN, *words], env=self.world.host_environment(), capture_output=True, timeout=60,
                              check=False, **more)

    def run(self, script, **more):
        done = self.towpath("host", "exec", self.name, "--", "/bin/sh", "-c", script, **more)
        assert done.returncode == 0, f"{self.name}: {script}: {done.stdout}{done.stderr}"
        return done.stdout

    def read(self, path):
        return self.run(f"if test -e {path}; then cat {path}; fi").strip()

    def preload(self):
        """From now on its programs live by a clock that can be moved."""
        library = clocks.built(self.world.folder).read_bytes()
        self.run(f"cat > {clocks.INSIDE_LIBRARY}", input=library, text=False)
        self.set_clock(self.world.moved_s)
        before = self.agent()
        self.run(f"echo {clocks.INSIDE_LIBRARY} > /etc/ld.so.preload")
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: self.agent(wait=False) not in (None, before), f"{self.name}'s agent runs again")

    def set_clock(self, seconds):
        octets = "".join(f"\\{byte:03o}" for byte in int(seconds * 1e9).to_bytes(8, "little", signed=True))
        self.run(f"printf '{octets}' | dd of={clocks.INSIDE_FILE} conv=notrunc status=none")

    def agent(self, wait=True):
        """The process id, on the outside, of its agent."""
        def look():
            return next((pid for pid in descendants(self.supervisor)
                         if name(pid).startswith("/usr/local/bin/towpath agent")), None)
        return wait_for(look, f"{self.name} has an agent", timeout=20) if wait else look()

    def kill_agent(self):
        os.kill(self.agent(), signal.SIGKILL)

    def freeze_agent(self, lasts_s):
        freeze(self.agent(), lasts_s)

    def agent_log(self):
        logs = list((self.world.folder / "machines").rglob("service.log"))
        return "\n".join(f"== {path}\n{path.read_text(errors='replace')[-4000:]}" for path in logs)


def parent(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def freeze(pid, lasts_s):
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(lasts_s)
    finally:
        os.kill(pid, signal.SIGCONT)
