"""From process start to health 200; memory when idle; size of the binary. Beside it: Python's own http.server."""

import os
import socket
import subprocess
import sys
import time

from report import median, spread
from world import BIN, Server, folder, free_port

ROUNDS = 10


def answers(port, path):
    """The status line's code, over a bare socket; None while nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as stream:
            stream.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            return int(stream.recv(64).split()[1])
    except (OSError, IndexError, ValueError):
        return None


def timed_start(words, port, path):
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while answers(port, path) != 200:
        if process.poll() is not None:
            raise SystemExit(f"{words[0]} ended with {process.returncode}")
        time.sleep(0.0005)
    return process, (time.perf_counter() - started) * 1000


def memory_mib(process):
    fields = dict(line.split(":", 1) for line in open(f"/proc/{process.pid}/status") if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1024


def run(report):
    report.title(f"start: process start to the first 200, {ROUNDS} rounds, interleaved")
    times = {"towpath, new data folder": [], "towpath, its data folder again": [], "python3 -m http.server": []}
    memory = {name: [] for name in times}
    with folder("start") as path:
        for number in range(ROUNDS):
            server = Server(path / str(number))
            server.folder.mkdir()
            up = [BIN, "up", "--listen", f"127.0.0.1:{server.port}", "--data", str(server.data)]
            port = free_port()
            python = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(server.folder)]
            ways = [("towpath, new data folder", up, server.port, "/_towpath/health"),
                    ("python3 -m http.server", python, port, "/"),
                    ("towpath, its data folder again", up, server.port, "/_towpath/health")]
            for name, words, port, url in ways:
                process, milliseconds = timed_start(words, port, url)
                times[name].append(milliseconds)
                time.sleep(0.3)  # what is done after the first answer is part of being idle
                memory[name].append(memory_mib(process))
                process.terminate()
                process.wait(timeout=30)
    report.table(["", "ms: median (least–most)", "idle memory, MiB"],
                 [[name, spread(times[name]), spread(memory[name])] for name in times])
    size_mib = os.path.getsize(BIN) / 2**20
    report.say(f"  binary: {size_mib:.1f} MiB")
    report.goal("ready in less than 100 ms", median(times["towpath, new data folder"]) < 100)
    report.goal("less than 60 MiB when idle", median(memory["towpath, new data folder"]) < 60)
    report.keep("start", {"milliseconds": times, "memory_mib": memory, "binary_mib": size_mib})
