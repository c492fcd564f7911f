"""Git over HTTP: clones and pushes of a large repository, beside `git http-backend` behind nginx and fcgiwrap.

The repository is generated, the same one each time: contents do not compress, so that its pack is as large as its
files. The reference asks nobody who they are, and takes packs as git does by default; a second reference checks every
object that is pushed, as Towpath does (`transfer.fsckObjects`).
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

ROUNDS = 3
FILES, COMMITS, FILE_BYTES, CHANGES = 20_000, 2_000, 6_000, 3
AT_ONCE = 50
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


class Towpath:
    name = "Towpath"

    def __init__(self, server):
        self.server, self.account = server, Account(server, "git")
        user, password = self.account.git_user()
        self.login = f"!f() {{ echo username='{user}'; echo password='{password}'; }}; f"
        self.processes = [server.process.pid]

    def make(self, suffix):
        return self.account.repository(suffix)[1]

    def words(self):
        return ["-c", f"credential.helper={self.login}"]


class Reference:
    """nginx and fcgiwrap with git's own program, below a folder of theirs."""

    def __init__(self, name, path, started, settings):
        self.name, self.path, self.processes, self.settings = name, path, [one.pid for one in started], settings

    def make(self, suffix):
        suffix = f"{suffix}-checking" if self.settings else suffix
        git("init", "-q", "--bare", "-b", "main", self.path / suffix)
        for key, value in ({"http.receivepack": "true", "uploadpack.allowFilter": "true"} | self.settings).items():
            git("config", key, value, cwd=self.path / suffix)
        return f"{self.url}/{suffix}"

    def words(self):
        return []


NGINX = """
daemon off; master_process on; worker_processes auto; pid {path}/pid; error_log {path}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; sendfile on; tcp_nodelay on; keepalive_timeout 65;
  client_body_temp_path {path}/t1; fastcgi_temp_path {path}/t2; proxy_temp_path {path}/t3; uwsgi_temp_path {path}/t4; scgi_temp_path {path}/t5;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      fastcgi_pass unix:{path}/socket; fastcgi_buffering off; fastcgi_request_buffering off; fastcgi_read_timeout 600;
      fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param GIT_PROJECT_ROOT {path}; fastcgi_param GIT_HTTP_EXPORT_ALL "";
      fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_USER dev;
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
    # As many at once as Towpath lets run.
    wrap = subprocess.Popen([program("fcgiwrap"), "-s", f"unix:{path}/socket", "-c", "32"], start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    nginx = subprocess.Popen([program("nginx"), "-c", path / "nginx.conf", "-e", path / "error.log", "-p", path], start_new_session=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def answers():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return (path / "socket").exists()
        wait_for(answers, "nginx answers", timeout=20)
        both = [Reference("http-backend", path, [nginx, wrap], {}),
                Reference("http-backend, checking", path, [nginx, wrap], {"transfer.fsckObjects": "true"})]
        for one in both:
            one.url = f"http://127.0.0.1:{port}"
        yield both
    finally:
        # Their children too, which fcgiwrap leaves behind.
        for one in (nginx, wrap):
            os.killpg(one.pid, signal.SIGTERM)
            one.wait()


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
    """What is measured, against one server."""

    def __init__(self, path, source, side):
        self.path, self.source, self.side = path, source, side
        self.url = side.make("large")
        self.count = 0

    def fresh(self, kind):
        self.count += 1
        return self.path / f"{kind}-{self.count}"

    def away(self, made):
        shutil.rmtree(made, ignore_errors=True)

    def push(self):
        """Everything, into an empty repository."""
        url = self.side.make(f"push{self.count}")
        self.count += 1
        return timed(lambda: git(*self.side.words(), "push", "-q", url, "main:main", cwd=self.source))

    def push_one(self, work):
        """One more commit."""
        tree, head = git("rev-parse", "HEAD^{tree}", cwd=work), git("rev-parse", "HEAD", cwd=work)
        new = git("commit-tree", tree, "-p", head, "-m", str(self.count), cwd=work)
        git("update-ref", "HEAD", new, cwd=work)
        return timed(lambda: git(*self.side.words(), "push", "-q", self.url, "HEAD:main", cwd=work))

    def clone(self, *more):
        made = self.fresh("clone")
        seconds = timed(lambda: git(*self.side.words(), "clone", "-q", "--no-checkout", *more, self.url, made))
        self.away(made)
        return seconds

    def fetch_nothing(self, work):
        return timed(lambda: git(*self.side.words(), "fetch", "-q", self.url, "main", cwd=work))


def measure(report, path, source, sides):
    steps = [Steps(path, source, side) for side in sides]
    works = []
    for one in steps:
        git(*one.side.words(), "push", "-q", one.url, "main:main", cwd=source)
        works.append(path / f"work-{len(works)}")
        git("clone", "-q", "--bare", source, works[-1])
    kinds = {
        "push, whole": lambda one, work: one.push(),
        "push, one commit": lambda one, work: one.push_one(work),
        "clone": lambda one, work: one.clone(),
        "clone --depth 1": lambda one, work: one.clone("--depth", "1"),
        "clone --filter=blob:none": lambda one, work: one.clone("--filter=blob:none"),
        "fetch, nothing new": lambda one, work: one.fetch_nothing(work),
    }
    found = {(kind, one.side.name): [] for kind in kinds for one in steps}
    for turn in range(ROUNDS):
        for kind, step in kinds.items():
            for one, work in zip(steps, works) if turn % 2 else list(zip(steps, works))[::-1]:
                found[kind, one.side.name].append(step(one, work))
    rows = []
    for kind in kinds:
        theirs = found[kind, "http-backend"]
        for one in steps:
            mine = found[kind, one.side.name]
            rows.append([kind, one.side.name, spread(mine, 2), f"{median([a / b for a, b in zip(mine, theirs)]):.2f} x"])
    report.table(["", "server", "seconds", "of http-backend"], rows)
    report.keep("git", {f"{kind}, {name}": values for (kind, name), values in found.items()})
    ratio = lambda kind, name: median(found[kind, "Towpath"]) / median(found[kind, name])
    report.goal("a clone is no slower than git http-backend's (5 % are noise)", ratio("clone", "http-backend") <= 1.05)
    report.goal("a push is no slower than git http-backend's that checks objects too (5 % are noise)",
                ratio("push, whole", "http-backend, checking") <= 1.05)
    return steps


def together(report, steps):
    """Half of them whole, half of them shallow, all begun at the same moment."""
    rows, kept = [], {}
    for one in steps[:2]:
        made = [one.fresh("many") for _ in range(AT_ONCE)]
        peak_mb(one.side.processes, forget=True)
        started = time.perf_counter()
        clients = [subprocess.Popen(
            ["git", *one.side.words(), "clone", "-q", "--bare", *(["--depth", "1"] if number % 2 else []), one.url, path],
            env=os.environ | QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for number, path in enumerate(made)]
        failed = [told for client in clients if (told := client.communicate()[1]) and client.returncode != 0]
        seconds, memory = time.perf_counter() - started, peak_mb(one.side.processes)
        heads = {git("rev-parse", "main", cwd=path) for path in made if path.exists()} if not failed else set()
        [one.away(path) for path in made]
        kept[one.side.name] = {"seconds": seconds, "failed": len(failed), "peak_mb": memory}
        rows.append([one.side.name, f"{AT_ONCE - len(failed)} of {AT_ONCE}", f"{seconds:.1f}", f"{memory:.0f}"])
        if failed:
            report.say(f"  {one.side.name}: {failed[0].decode(errors='replace').strip()}")
        elif len(heads) != 1:
            raise SystemExit(f"clones of {one.side.name} disagree: {heads}")
    report.table([f"{AT_ONCE} clones at once", "succeeded", "seconds", "server's peak MiB"], rows)
    report.keep("git_together", kept)
    ours, theirs = kept["Towpath"], kept["http-backend"]
    report.goal(f"all of {AT_ONCE} clones at once succeed, no slower than http-backend's (10 % are noise)",
                ours["failed"] == 0 and ours["seconds"] <= theirs["seconds"] * 1.1)


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
        steps = measure(report, path, source, [Towpath(server), *references])
        together(report, steps)
