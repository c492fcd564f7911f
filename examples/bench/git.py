"""Git over HTTP: clones and pushes of a large repository, beside `git http-backend` behind nginx and fcgiwrap.

The repository is generated, the same one each time: contents do not compress, so that its pack is as large as its
files. Both sides ask for a password, which the client gets from a helper. The reference is as git is by default. A second
one is looked after as its owner could: it checks every object that is pushed and syncs references, as Towpath does, and
its large repository went through `git gc`, which writes bitmaps, before it is cloned.
"""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

from report import median, spread
from world import Account, folder, free_port, running, wait_for

ROUNDS, ROUNDS_TOGETHER = 3, 2
FILES, COMMITS, FILE_BYTES, CHANGES = 20_000, 2_000, 6_000, 3
AT_ONCE = 50
PLAIN, TENDED = "http-backend", "http-backend, tended"
LOGIN = ("dev", "a-password")
QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
         "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


def git(*words, cwd=None, **more):
    done = subprocess.run(["git", *map(str, words)], cwd=cwd, env=os.environ | QUIET, capture_output=True, **more)
    if done.returncode != 0:
        raise SystemExit(f"git {' '.join(map(str, words))}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace").strip()


def stream(write, scale):
    """The repository as `git fast-import` reads it: one large commit, then many small ones."""
    draw, files = random.Random(20240101), max(100, int(FILES * scale))
    name = lambda number: f"dir{number % 200:03d}/file{number:05d}.bin"

    def commit(number, changed):
        text = b"commit %d" % number
        write(b"commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata %d\n%s\n" % (1_700_000_000 + number * 60, len(text), text))
        for one in changed:
            content = draw.randbytes(draw.randrange(FILE_BYTES // 2, FILE_BYTES * 3 // 2))
            write(b"M 100644 inline %s\ndata %d\n" % (name(one).encode(), len(content)))
            write(content + b"\n")

    commit(0, range(files))
    for number in range(1, max(10, int(COMMITS * scale))):
        commit(number, (draw.randrange(files) for _ in range(CHANGES)))


def generate(path, scale):
    git("init", "-q", "--bare", "-b", "main", path)
    importer = subprocess.Popen(["git", "-C", path, "fast-import", "--quiet", "--done"], stdin=subprocess.PIPE, env=os.environ | QUIET)
    stream(importer.stdin.write, scale)
    importer.stdin.write(b"done\n")
    importer.stdin.close()
    if importer.wait() != 0:
        raise SystemExit("git fast-import failed")
    return sum(pack.stat().st_size for pack in pathlib.Path(path).glob("objects/pack/*.pack"))


class Meter:
    """What some processes and all of their children have cost, dead ones too: a control group's count. `None` where
    this machine lets us make no group."""

    V1, V2 = pathlib.Path("/sys/fs/cgroup/cpuacct"), pathlib.Path("/sys/fs/cgroup")

    def __init__(self, name, pids):
        self.group = (self.V1 if self.V1.is_dir() else self.V2) / f"towpath-bench-{os.getpid()}-{name}"
        try:
            self.group.mkdir()
            # Twice, for children that were made meanwhile.
            for pid in [*family(pids), *family(pids)]:
                (self.group / "cgroup.procs").write_text(str(pid))
            self.seconds()
        except (OSError, StopIteration):
            self.away()
            self.group = None

    def seconds(self):
        if self.group is None:
            return None
        if (self.group / "cpuacct.usage").exists():
            return int((self.group / "cpuacct.usage").read_text()) / 1e9
        lines = (self.group / "cpu.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("usage_usec")) / 1e6

    def away(self):
        """The last of the processes may take a moment to end."""
        end = time.monotonic() + 10
        while self.group and self.group.exists() and time.monotonic() < end:
            with contextlib.suppress(OSError):
                return self.group.rmdir()
            time.sleep(0.05)


def login(user, password):
    return ["-c", f"credential.helper=!f() {{ echo username='{user}'; echo password='{password}'; }}; f"]


class Towpath:
    name = "Towpath"

    def __init__(self, server):
        self.server, self.account = server, Account(server, "git")
        self.words = login(*self.account.git_user())
        self.processes = [server.process.pid]
        self.meter = Meter("towpath", self.processes)

    def make(self, suffix):
        return self.account.repository(suffix)[1]

    def tended(self, url):
        """Waits until the server has put its bitmaps beside what was pushed, which it does by itself."""
        found = lambda: list((self.server.data / "codecommit").rglob("*.bitmap"))
        return timed(lambda: wait_for(found, "the server's bitmaps", timeout=120))


class Reference:
    """nginx and fcgiwrap with git's own program, below a folder of theirs."""

    def __init__(self, name, path, url, started, meter, settings):
        self.name, self.path, self.url, self.meter, self.settings = name, path, url, meter, settings
        self.processes, self.words = [one.pid for one in started], login(*LOGIN)

    def make(self, suffix):
        suffix = f"{suffix}-tended" if self.settings else suffix
        git("init", "-q", "--bare", "-b", "main", self.path / suffix)
        for key, value in ({"http.receivepack": "true", "uploadpack.allowFilter": "true"} | self.settings).items():
            git("config", key, value, cwd=self.path / suffix)
        return f"{self.url}/{suffix}"

    def tended(self, url):
        return timed(lambda: git("gc", "-q", cwd=self.path / url.rsplit("/", 1)[1])) if self.settings else None


NGINX = """
daemon off; master_process on; worker_processes auto; pid {path}/pid; error_log {path}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; sendfile on; tcp_nodelay on; keepalive_timeout 65;
  client_body_temp_path {path}/t1; fastcgi_temp_path {path}/t2; proxy_temp_path {path}/t3; uwsgi_temp_path {path}/t4; scgi_temp_path {path}/t5;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      auth_basic git; auth_basic_user_file {path}/passwords;
      fastcgi_pass unix:{path}/socket; fastcgi_buffering off; fastcgi_request_buffering off; fastcgi_read_timeout 600;
      fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param GIT_PROJECT_ROOT {path}; fastcgi_param GIT_HTTP_EXPORT_ALL "";
      fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_USER $remote_user;
      fastcgi_param REMOTE_ADDR $remote_addr; fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param GIT_PROTOCOL $http_git_protocol; fastcgi_param HOME {path}; fastcgi_param PATH {PATH};
    }}
  }}
}}
"""


def program(name):
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


@contextlib.contextmanager
def http_backend(path):
    """Both references, on one nginx."""
    path.mkdir()
    backend, port = f"{git('--exec-path')}/git-http-backend", free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (path / "nginx.conf").write_text(NGINX.format(path=path, port=port, backend=backend, user=user, PATH=os.environ["PATH"]))
    # The cheapest of nginx's forms; Towpath takes an HMAC.
    (path / "passwords").write_text(f"{LOGIN[0]}:{{PLAIN}}{LOGIN[1]}\n")
    # As many at once as Towpath lets run.
    wrap = subprocess.Popen([program("fcgiwrap"), "-s", f"unix:{path}/socket", "-c", "32"], start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    nginx = subprocess.Popen([program("nginx"), "-c", path / "nginx.conf", "-e", path / "error.log", "-p", path], start_new_session=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    meter = None
    try:
        def answers():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return (path / "socket").exists()
        wait_for(answers, "nginx answers", timeout=20)
        meter = Meter("reference", [nginx.pid, wrap.pid])
        made = lambda name, settings: Reference(name, path, f"http://127.0.0.1:{port}", [nginx, wrap], meter, settings)
        strict = {"transfer.fsckObjects": "true", "core.fsync": "committed,reference"}
        yield [made(PLAIN, {}), made(TENDED, strict)]
    finally:
        # Their children too, which fcgiwrap leaves behind.
        for one in (nginx, wrap):
            os.killpg(one.pid, signal.SIGTERM)
            one.wait()
        if meter:
            meter.away()


def family(pids):
    """The processes and their children that are no git: what a server itself costs."""
    found, children = set(pids), {}
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = status.read_text().rpartition(")")
            if not head.split("(", 1)[1].startswith("git"):
                children.setdefault(int(rest.split()[1]), []).append(int(status.parent.name))
    while more := {child for pid in found for child in children.get(pid, [])} - found:
        found |= more
    return found


def peak_mb(pids, forget=False):
    """The most resident memory since it was last forgotten, of all of them together."""
    total = 0
    for pid in family(pids):
        with contextlib.suppress(OSError):
            if forget:
                pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return total


def timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Steps:
    """What is measured, against one server: seconds, and seconds of its processors."""

    def __init__(self, path, source, side):
        self.path, self.source, self.side = path, source, side
        self.url = side.make("large")
        self.count = 0
        git(*side.words, "push", "-q", self.url, "main:main", cwd=source)
        self.tended = side.tended(self.url)
        self.work = path / f"work-{side.name}"
        git("clone", "-q", "--bare", source, self.work)

    def fresh(self, kind):
        self.count += 1
        return self.path / f"{self.side.name}-{kind}-{self.count}"

    def metered(self, *words, cwd=None):
        before, seconds = self.side.meter.seconds(), timed(lambda: git(*self.side.words, *words, cwd=cwd))
        after = self.side.meter.seconds()
        return seconds, None if before is None else after - before

    def push(self):
        """Everything, into an empty repository."""
        self.count += 1
        return self.metered("push", "-q", self.side.make(f"push{self.count}"), "main:main", cwd=self.source)

    def push_one(self):
        """One more commit."""
        tree, head = git("rev-parse", "HEAD^{tree}", cwd=self.work), git("rev-parse", "HEAD", cwd=self.work)
        new = git("commit-tree", tree, "-p", head, "-m", str(self.count), cwd=self.work)
        git("update-ref", "HEAD", new, cwd=self.work)
        return self.metered("push", "-q", self.url, "HEAD:main", cwd=self.work)

    def clone(self, *more):
        made = self.fresh("clone")
        found = self.metered("clone", "-q", "--no-checkout", *more, self.url, made)
        shutil.rmtree(made, ignore_errors=True)
        return found

    def fetch_nothing(self):
        return self.metered("fetch", "-q", self.url, "main", cwd=self.work)

    def together(self):
        """Half of them whole, half of them shallow, all begun at the same moment."""
        made = [self.fresh("many") for _ in range(AT_ONCE)]
        peak_mb(self.side.processes, forget=True)
        started, before = time.perf_counter(), self.side.meter.seconds()
        clients = [subprocess.Popen(
            ["git", *self.side.words, "clone", "-q", "--bare", *(["--depth", "1"] if number % 2 else []), self.url, path],
            env=os.environ | QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for number, path in enumerate(made)]
        told = [(client.communicate()[1], client.returncode) for client in clients]
        found = {"seconds": time.perf_counter() - started, "failed": [text for text, code in told if code != 0],
                 "peak_mb": peak_mb(self.side.processes), "processor": None if before is None else self.side.meter.seconds() - before}
        heads = {git("rev-parse", "main", cwd=path) for path in made} if not found["failed"] else set()
        [shutil.rmtree(path, ignore_errors=True) for path in made]
        if len(heads) > 1:
            raise SystemExit(f"clones of {self.side.name} disagree: {heads}")
        return found


KINDS = {
    "push, whole": Steps.push,
    "push, one commit": Steps.push_one,
    "clone": Steps.clone,
    "clone --depth 1": lambda one: one.clone("--depth", "1"),
    "clone --filter=blob:none": lambda one: one.clone("--filter=blob:none"),
    "fetch, nothing new": Steps.fetch_nothing,
}


def ratio(mine, theirs):
    """Of neighbouring measurements; `None` where one was not made."""
    pairs = [a / b for a, b in zip(mine, theirs) if a is not None and b]
    return median(pairs) if pairs else None


def times(value):
    return "not measured" if value is None else f"{value:.2f} x"


def measure(report, steps):
    found = {(kind, one.side.name): [] for kind in KINDS for one in steps}
    for turn in range(ROUNDS):
        for kind, step in KINDS.items():
            for one in steps if turn % 2 else steps[::-1]:
                found[kind, one.side.name].append(step(one))
    seconds = lambda kind, name: [both[0] for both in found[kind, name]]
    processor = lambda kind, name: [both[1] for both in found[kind, name]]
    rows = []
    for kind in KINDS:
        for one in steps:
            mine, cost = seconds(kind, one.side.name), processor(kind, one.side.name)
            rows.append([kind, one.side.name, spread(mine, 2), times(ratio(mine, seconds(kind, PLAIN))),
                         "—" if None in cost else spread(cost, 2), times(ratio(cost, processor(kind, PLAIN)))])
    report.table(["", "server", "seconds", "of http-backend", "server's processor s", "of http-backend"], rows)
    report.keep("git", {f"{kind}, {name}": values for (kind, name), values in found.items()})
    # Ours is durable and checked: the fair reference of a push is the one that is so too.
    for kind, name in [("clone", PLAIN), ("clone", TENDED), ("clone --depth 1", PLAIN), ("clone --filter=blob:none", PLAIN),
                       ("push, whole", PLAIN), ("push, whole", TENDED), ("push, one commit", TENDED)]:
        value = ratio(seconds(kind, "Towpath"), seconds(kind, name))
        report.goal(f"{kind}: no slower than {name} (5 % are noise): {times(value)}", value <= 1.05)


def together(report, steps):
    found = {one.side.name: [] for one in steps}
    for turn in range(ROUNDS_TOGETHER):
        for one in steps if turn % 2 else steps[::-1]:
            found[one.side.name].append(one.together())
    rows = []
    for name, rounds in found.items():
        failed = [text for one in rounds for text in one["failed"]]
        if failed:
            report.say(f"  {name}: {failed[0].decode(errors='replace').strip()}")
        cost = [one["processor"] for one in rounds]
        rows.append([name, f"{AT_ONCE * len(rounds) - len(failed)} of {AT_ONCE * len(rounds)}", spread([one["seconds"] for one in rounds]),
                     "—" if None in cost else spread(cost), f"{max(one['peak_mb'] for one in rounds):.0f}"])
    report.table([f"{AT_ONCE} clones at once", "succeeded", "seconds", "server's processor s", "server's peak MiB"], rows)
    report.keep("git_together", {name: [one | {"failed": len(one["failed"])} for one in rounds] for name, rounds in found.items()})
    seconds = lambda name: [one["seconds"] for one in found[name]]
    whole = not any(one["failed"] for one in found["Towpath"])
    for name in (PLAIN, TENDED):
        value = ratio(seconds("Towpath"), seconds(name))
        report.goal(f"all of {AT_ONCE} clones at once succeed, no slower than {name} (10 % are noise): {times(value)}",
                    whole and value <= 1.1)


def run(report, scale=1.0):
    report.title(f"git: a large repository over HTTP, {ROUNDS} rounds, interleaved")
    missing = [name for name in ("nginx", "fcgiwrap") if not program(name)]
    if missing:
        report.say(f"  not measured: {' and '.join(missing)} not installed")
        return
    with folder("git") as path, running(path) as server, http_backend(path / "reference") as references:
        source = path / "source.git"
        size_bytes = generate(source, scale)
        commits, files = git("rev-list", "--count", "main", cwd=source), git("ls-tree", "-r", "--name-only", "main", cwd=source)
        report.say(f"  {len(files.splitlines())} files, {commits} commits, a pack of {size_bytes / 1e6:.0f} MB; {git('--version')}")
        ours = Towpath(server)
        try:
            steps = [Steps(path, source, side) for side in [ours, *references]]
            for one in steps:
                if one.tended is not None:
                    report.say(f"  {one.side.name}: has tended its large repository within {one.tended:.1f} s")
            measure(report, steps)
            together(report, steps)
        finally:
            # Emptied before it can go.
            server.stop()
            ours.meter.away()
