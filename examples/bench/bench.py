"""Benchmarks: our figure beside a reference's, measured in the same run. Started by `cargo xtask bench`."""

import argparse
import importlib
import os
import sys

NAMES = ("journey", "sandbox", "api", "start", "growth", "retention", "scale", "agents", "git", "build")


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} [default: all]")
    parser.add_argument("--towpath", help="the binary; only `build` does without")
    parser.add_argument("--sandbox-example", help="the runner's example bench_true, built as the binary is")
    parser.add_argument("--agents-example", help="the agent's example bench_agents, built as the binary is")
    parser.add_argument("--load", help="the load generator: a command that takes a file of requests")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of the journey [default: 5]")
    parser.add_argument("--scale", type=float, default=1.0, help="share of git's large repository and of retention's executions [default: 1]")
    parser.add_argument("--json", help="also write every figure into this file")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    if arguments.towpath:
        os.environ["TOWPATH_BIN"] = arguments.towpath
    elif arguments.names != ["build"]:
        parser.error("--towpath is missing")

    from report import Report
    from world import machine

    report = Report()
    report.say(machine())
    report.keep("machine", machine())
    for name in arguments.names or NAMES:
        module = importlib.import_module(name)
        settings = {"journey": [arguments.rounds], "sandbox": [arguments.sandbox_example], "api": [arguments.load],
                    "growth": [arguments.load], "retention": [arguments.load, arguments.scale],
                    "agents": [arguments.agents_example], "git": [arguments.scale]}.get(name, [])
        module.run(report, *settings)
    if arguments.json:
        report.save(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
