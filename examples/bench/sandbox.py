"""Start to end of /bin/true: our sandbox beside bare fork+exec, bwrap's read-only view and `docker run --rm`."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time

from report import median, spread
from world import wait_for

TRUE = "/bin/true"
BWRAP = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "--die-with-parent", TRUE]
IMAGE = "towpath-bench-true"
DOCKER = ["docker", "run", "--rm", "--network", "none", IMAGE, TRUE]
ROUNDS, DOCKER_ROUNDS = 40, 10
MANY, AT_A_TIME = 60, 8


class Commands:
    """A way to run /bin/true that is a command line."""

    def __init__(self, words, rounds):
        self.path, self.words, self.rounds = shutil.which(words[0]), words, rounds
        self.quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]

    def spawn(self):
        return os.posix_spawn(self.path, self.words, os.environ, file_actions=self.quiet)

    def run(self, count, at_a_time):
        """Milliseconds for all of them."""
        started, running = time.perf_counter(), 0
        for number in range(count + at_a_time):
            if number >= at_a_time and running:
                self.reap()
                running -= 1
            if number < count:
                self.spawn()
                running += 1
        return (time.perf_counter() - started) * 1000

    def reap(self):
        _, status = os.wait()
        if status != 0:
            raise SystemExit(f"{' '.join(self.words)} ended with {status}")

    def works(self):
        done = subprocess.run(self.words, capture_output=True, text=True)
        return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]


class Sandboxes:
    """Ours: the runner's own interface, in a process that does nothing else."""

    def __init__(self, program, rounds):
        self.rounds = rounds
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, count, at_a_time):
        self.process.stdin.write(f"{count} {at_a_time}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the sandbox example ended; its error is above")
        return float(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def libraries(program):
    """What the dynamic linker would load, so that an image needs no registry."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    words = (word for line in listed.splitlines() for word in line.split())
    return [word for word in words if word.startswith("/")]


def docker_is_up():
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@contextlib.contextmanager
def docker():
    """Docker with an image that holds /bin/true and its libraries; yields why not, or None."""
    if not shutil.which("docker"):
        yield "docker is not installed"
        return
    with tempfile.TemporaryDirectory(prefix="towpath-bench-docker-") as scratch:
        daemon = None
        if not docker_is_up():
            if os.geteuid() != 0 or not shutil.which("dockerd"):
                yield "no Docker daemon answers and none can be started without root"
                return
            log = open(os.path.join(scratch, "dockerd.log"), "wb")
            daemon = subprocess.Popen(["dockerd"], stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(lambda: docker_is_up() or (daemon and daemon.poll() is not None), "dockerd answers", timeout=60)
            yield make_image(scratch) if docker_is_up() else f"dockerd ended: {last_line(scratch)}"
        except AssertionError as late:
            yield str(late)
        finally:
            subprocess.run(["docker", "rmi", "-f", IMAGE], capture_output=True)
            if daemon:
                daemon.terminate()
                daemon.wait(timeout=30)


def last_line(scratch):
    return pathlib.Path(scratch, "dockerd.log").read_text(errors="replace").strip().splitlines()[-1][-200:]


def make_image(scratch):
    archive = os.path.join(scratch, "image.tar")
    with tarfile.open(archive, "w", dereference=True) as tar:
        for file in {TRUE, *libraries(TRUE)}:
            tar.add(file, arcname=file.lstrip("/"))
    done = subprocess.run(["docker", "import", archive, IMAGE], capture_output=True, text=True)
    if done.returncode == 0:
        done = subprocess.run(DOCKER, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1][-200:]


def run(report, example):
    report.title(f"sandbox: {TRUE}, start to end; one at a time, and {MANY} runs {AT_A_TIME} at a time")
    if not example:
        report.say("  not measured: the runner's example bench_drive was not given (--sandbox-example)")
        return
    with docker() as no_docker:
        ways = {"towpath sandbox": Sandboxes(example, ROUNDS), "bare fork+exec": Commands([TRUE], ROUNDS),
                "bwrap, read-only /": Commands(BWRAP, ROUNDS), "docker run --rm": Commands(DOCKER, DOCKER_ROUNDS)}
        missing = {}
        if no_docker:
            missing["docker run --rm"] = no_docker
        if not shutil.which("bwrap"):
            missing["bwrap, read-only /"] = "bubblewrap is not installed"
        elif (why := ways["bwrap, read-only /"].works()) is not None:
            missing["bwrap, read-only /"] = f"bwrap fails here: {why[0]}"
        for name, why in missing.items():
            del ways[name]
            report.say(f"  not measured: {name}: {why}")
        measure(report, ways)
        ways["towpath sandbox"].close()


def measure(report, ways):
    single = {name: [] for name in ways}
    for way in ways.values():
        way.run(2, 1)
    for number in range(ROUNDS):
        for name, way in ways.items():
            if number < way.rounds:
                single[name].append(way.run(1, 1))
    many = {name: [] for name in ways}
    for number in range(3):
        for name, way in ways.items():
            if not (name.startswith("docker") and number):
                many[name].append(way.run(MANY, AT_A_TIME) / 1000)
    ours, ours_many = median(single["towpath sandbox"]), median(many["towpath sandbox"])
    rows = [[name, spread(single[name]), f"{median(single[name]) / ours:.2f} x", spread(many[name], 2),
             f"{median(many[name]) / ours_many:.2f} x"] for name in ways]
    report.table(["way", "one, ms: median (least–most)", "to ours", f"{MANY}, {AT_A_TIME} at a time, s", "to ours"], rows)
    report.keep("sandbox", {"milliseconds": single, "many_seconds": many})
