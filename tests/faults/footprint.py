"""What a running server has on this machine, to look for after its death."""

import os
import pathlib
import subprocess

from server import wait_for


def stat(pid):
    """(parent, start time) of a process, or None when it is gone or a zombie."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), fields[19])


def name(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def descendants(pid):
    """{pid: start time} of everything below a process, itself included."""
    processes = {int(entry): stat(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    found = {pid: processes[pid][1]} if processes.get(pid) else {}
    while True:
        more = {child: told[1] for child, told in processes.items()
                if told and told[0] in found and child not in found}
        if not more:
            return found
        found |= more


class Footprint:
    """Taken while the server runs; `is_gone` afterwards."""

    def __init__(self, server):
        self.data = server.data
        self.server = server.process.pid
        self.processes = descendants(self.server)
        self.sandboxed = [pid for pid in self.processes if name(pid).startswith("towpath-sandbox")]
        self.groups = {group for pid in self.sandboxed for group in self.groups_of(pid)}
        self.links = {link for pid in self.sandboxed for link in self.links_of(pid)}

    @staticmethod
    def groups_of(pid):
        """The folders of the control groups that a sandbox's process has of its own."""
        try:
            lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            return
        own = [line.split(":", 2) for line in lines]
        for line in pathlib.Path("/proc/mounts").read_text().splitlines():
            _, mount, kind, options = line.split()[:4]
            for _, controllers, path in own:
                fits = kind == "cgroup2" if not controllers else (
                    kind == "cgroup" and set(controllers.split(",")) <= set(options.split(",")))
                if fits and "towpath-" in path:
                    yield mount + path

    @staticmethod
    def links_of(pid):
        """Index, on this side, of the interface that leads into a sandbox."""
        if os.geteuid() != 0:
            return  # a rootless sandbox has no interface on this side
        try:
            own = os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino
        except OSError:
            return  # it has ended meanwhile
        if own:
            return
        done = subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-o", "link", "show", "eth0"],
                              capture_output=True, text=True)
        if "@if" in done.stdout:
            yield int(done.stdout.split("@if", 1)[1].split(":", 1)[0])

    def left(self):
        """What is still there, in words."""
        found = [f"process {pid}: {name(pid)}" for pid, started in self.processes.items()
                 if (stat(pid) or (0, None))[1] == started]
        found += [f"mount {line.split()[1]}" for line in pathlib.Path("/proc/mounts").read_text().splitlines()
                  if str(self.data) in line]
        found += [f"control group {group}" for group in self.groups if os.path.exists(group)]
        indexes = {}
        for link in os.listdir("/sys/class/net"):
            try:
                indexes[int(pathlib.Path(f"/sys/class/net/{link}/ifindex").read_text())] = link
            except OSError:
                continue
        found += [f"interface {indexes[link]}" for link in self.links if link in indexes]
        return found

    def is_gone(self, timeout=20):
        """Waits until nothing is left, and fails with what is."""
        try:
            wait_for(lambda: not self.left(), "nothing is left of the dead server", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; left: {self.left()}") from None


def swept(server, timeout=20):
    """Waits until no folder of any sandbox or attempt is left in the server's data."""
    def rest():
        folders = [server.data / name for name in ("sandboxes/run", "sandboxes/trash", "codebuild/builds")]
        return [str(entry) for folder in folders if folder.exists() for entry in folder.iterdir()]
    try:
        wait_for(lambda: not rest(), "the sandboxes' folders are empty", timeout)
    except AssertionError as error:
        raise AssertionError(f"{error}; left: {rest()}") from None
