"""From sources to the released binary: a build in an empty folder, as who installs Towpath makes it, and the binary's size.

Downloads are made beforehand. What would spare the compiler work (a cache of other builds) is left out.
"""

import os
import subprocess
import time

from world import ROOT, folder

WHAT = ["--release", "--locked", "--package", "towpath", "--bin", "towpath"]


def cargo(*words):
    done = subprocess.run(["cargo", *map(str, words)], cwd=ROOT, env=os.environ | {"RUSTC_WRAPPER": ""}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"cargo {words[0]} failed: {done.stderr[-2000:]}")
    return done


def run(report):
    report.title("build: `cargo build --release` in an empty folder, once")
    cargo("fetch", "--locked")
    compiler = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    with folder("build") as path:
        started = time.perf_counter()
        done = cargo("build", *WHAT, "--target-dir", path)
        seconds = time.perf_counter() - started
        size_mib = (path / "release/towpath").stat().st_size / 2**20
    crates = sum(line.strip().startswith("Compiling ") for line in done.stderr.splitlines())
    report.say(f"  {compiler}, {os.cpu_count()} cores: {seconds / 60:.1f} minutes for {crates} crates; the binary has {size_mib:.1f} MiB")
    report.keep("build", {"seconds": seconds, "crates": crates, "binary_mib": size_mib})
