"""`towpath worker` as a process, and what it says to a server."""

import io
import json
import os
import signal
import subprocess
import tarfile

from server import BIN


class Worker:
    """`towpath worker` as a second machine would run it: it knows a URL and a token."""

    def __init__(self, folder, server, token, name, slots=2, extra=(), endpoints=None):
        self.folder, self.server, self.name, self.slots, self.extra = folder / name, server, name, slots, list(extra)
        self.endpoints = endpoints or [server.url]
        self.folder.mkdir()
        (self.folder / "token").write_text(token)
        self.process = None

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TOWPATH_"))}
        with open(self.folder / "worker.log", "ab") as log:
            self.process = subprocess.Popen(
                [BIN, "worker", "--endpoint", ",".join(self.endpoints), "--token-file", str(self.folder / "token"),
                 "--name", self.name, "--slots", str(self.slots), "--data", str(self.folder / "data"), *self.extra],
                stdout=log, stderr=log, env=environment, start_new_session=True)
        return self

    def log(self):
        return (self.folder / "worker.log").read_text(errors="replace")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the worker did not stop:\n{self.log()[-3000:]}") from None

    def builds_left(self):
        folder = self.folder / "data/builds"
        return list(folder.iterdir()) if folder.exists() else []


# Larger than what a server keeps in its database: its way leads over the object store.
CONTENT = b"x" * (32 << 10)


def results(puts, files):
    """Results as a worker packs them; a file named `link` is a symlink that leads out."""
    return packed({"puts": puts}, {name: CONTENT for name in files})


def packed(manifest, files):
    """The same with any content, and anything in the manifest."""
    nothing = {"puts": [], "artifacts": None, "secondary": [], "reports": [], "exported": [], "failures": []}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in {"manifest.json": json.dumps(nothing | manifest).encode(), **files}.items():
            entry = tarfile.TarInfo(name)
            if name == "link":
                entry.type, entry.linkname, content = tarfile.SYMTYPE, "/etc/passwd", b""
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
