"""Many seeds, unattended: one line for each, and a table at the end. What failed keeps its files and its output.

    python -m seeded.campaign --runs 200 [--first 1] [--seed N ...] [--jobs 2] [--kinds kill,disk] [--out DIR]
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

# Far beyond any run that ends; it then still has the time to take its own processes down.
RUN_S = 420
FAREWELL_S = 60


def arguments():
    parser = argparse.ArgumentParser(prog="cargo xtask faults")
    parser.add_argument("--runs", type=int, default=200, help="how many seeds [default: 200]")
    parser.add_argument("--first", type=int, default=1, help="the first of them [default: 1]")
    parser.add_argument("--seed", action="append", help="this seed alone (repeatable)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time [default: 2]")
    parser.add_argument("--kinds", help="only faults of these kinds, by comma")
    parser.add_argument("--store", choices=["sqlite", "postgres"], help="[default: every fifth seed PostgreSQL]")
    parser.add_argument("--out", default="target/faults", help="folder for output and figures [default: target/faults]")
    return parser.parse_args()


def one(seed, given, out):
    """Runs a seed in a process of its own; its figures, whatever became of it."""
    work, figures = out / f"seed-{seed}", out / f"seed-{seed}.json"
    shutil.rmtree(work, ignore_errors=True)
    figures.unlink(missing_ok=True)
    command = [sys.executable, "-m", "seeded", "--seed", str(seed), "--work", str(work), "--json", str(figures),
               *(["--store", given.store] if given.store else []), *(["--kinds", given.kinds] if given.kinds else [])]
    begun = time.monotonic()
    with open(out / f"seed-{seed}.txt", "wb") as text:
        process = subprocess.Popen(command, stdout=text, stderr=text, start_new_session=True)
        try:
            process.wait(timeout=RUN_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(timeout=FAREWELL_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    try:
        found = json.loads(figures.read_text())
    except (OSError, ValueError):
        found = {"seed": str(seed), "wrong": [f"no figures; exit status {process.returncode}"]}
    return found | {"run_s": round(time.monotonic() - begun, 1)}


def told(figures):
    happened = collections.Counter(figures.get("happened", []))
    shown = [f"{kind} x{count}" if count > 1 else kind for kind, count in happened.items()]
    if figures.get("network"):
        shown.append(f"network x{sum(figures['network'].values())}")
    verdict = "FAILED" if figures["wrong"] else "held"
    return f"seed {figures['seed']:>4}  {verdict:<6} {figures['run_s']:6.1f} s  {', '.join(shown) or 'nothing'}"


def spread(values):
    if not values:
        return "-"
    return f"median {statistics.median(values):.2f} s, most {max(values):.2f} s"


def by_kind(runs):
    """A row for each kind of fault, as Markdown: how often, in how many runs, and what became of those."""
    had = {id(run): collections.Counter(run.get("happened", [])) for run in runs}
    for run in runs:
        had[id(run)]["network"] += sum(run.get("network", {}).values())
    lines = ["| fault | times | moment never came | in runs | retried by a person | runs that failed |",
             "|---|---|---|---|---|---|"]
    missed = collections.Counter(kind for run in runs for kind in run.get("missed", []))
    for kind in sorted({kind for counts in had.values() for kind in counts}):
        those = [run for run in runs if had[id(run)][kind]]
        # Whose fault a retry is: see `journey.excuse`.
        stages = {"agent": ("Deploy", "host"), "disk": ("Build",)}.get(kind, ())
        retries = sum(stage in stages for run in those for stage in run.get("retried", []))
        lines.append(f"| {kind} | {sum(had[id(run)][kind] for run in runs)} | {missed[kind]} | {len(those)} | {retries} "
                     f"| {sum(bool(run['wrong']) for run in those)} |")
    return lines


def summary(runs, took_s):
    """What was done, what it did, how long it took to get over it."""
    network = collections.Counter()
    for run in runs:
        network.update(run.get("network", {}))
    failed = [run for run in runs if run["wrong"]]
    retried = collections.Counter(stage for run in runs for stage in run.get("retried", []))
    lines = [f"{len(runs)} runs in {took_s:.0f} s: {len(runs) - len(failed)} held, {len(failed)} failed",
             f"  acknowledged small writes, each looked for afterwards: {sum(run.get('acknowledged', 0) for run in runs)}",
             f"  of them over PostgreSQL: {sum(run.get('store') == 'postgres' for run in runs)}",
             f"  requests: {', '.join(f'{fate} {count}' for fate, count in sorted(network.items())) or 'none touched'}",
             f"  server started again: {spread([one for run in runs for one in run.get('restarts_s', [])])}",
             "  from the last fault to the end of everything: "
             + spread([run["recovery_s"] for run in runs if run.get("recovery_s") is not None]),
             f"  whole journey: {spread([run['journey_s'] for run in runs if 'journey_s' in run])}",
             f"  what a person had to retry: {dict(retried) or 'nothing'}",
             f"  content without a name at the end: {sum(run.get('unnamed', 0) for run in runs)} blobs, "
             f"most in a run {max((run.get('unnamed', 0) for run in runs), default=0)}",
             f"  a server's folder at the end: most {max((run.get('disk', 0) for run in runs), default=0) / 1e6:.1f} MB",
             *by_kind(runs)]
    lines += [f"  FAILED seed {run['seed']}: {str(run['wrong'][0]).strip().splitlines()[-1][:300]}" for run in failed]
    return "\n".join(lines)


def main():
    given = arguments()
    out = pathlib.Path(given.out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    seeds = given.seed or range(given.first, given.first + given.runs)
    begun, runs = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(max(given.jobs, 1)) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, seed, given, out) for seed in seeds]):
            runs.append(done.result())
            print(told(runs[-1]), flush=True)
            if runs[-1]["wrong"]:
                print(f"  its plan, timeline and logs: {out}/seed-{runs[-1]['seed']}.txt", flush=True)
            (out / "runs.json").write_text(json.dumps(runs))
    print(summary(runs, time.monotonic() - begun))
    if len(seeds) == 1 and runs[0]["wrong"]:
        print((out / f"seed-{runs[0]['seed']}.txt").read_text(errors="replace"))
    return 1 if any(run["wrong"] for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
