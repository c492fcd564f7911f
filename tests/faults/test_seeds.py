"""The whole journey with what a few seeds draw going wrong. `cargo xtask faults` runs hundreds of them.

TOWPATH_FAULT_SEEDS names other seeds; see `seeded` for how one of them is looked at alone.
"""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
# Together they have every kind, 110 a PostgreSQL that is killed twice: see `python -m seeded --seed N --plan`.
SEEDS = os.environ.get("TOWPATH_FAULT_SEEDS", "13,49,96,110,124").split(",")
NEEDS_ROOT = {"disk": "mounts a file system", "clock": "writes into its hosts' /etc", "skew": "writes into its hosts' /etc"}


def seeded(*words, timeout=280):
    return subprocess.run([sys.executable, "-m", "seeded", *words], cwd=HERE, capture_output=True, text=True,
                          timeout=timeout, check=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_journey_ends_right_whatever_goes_wrong(seed, tmp_path):
    plan = seeded("--seed", seed, "--plan").stdout
    for kind, why in NEEDS_ROOT.items():
        if os.geteuid() != 0 and f"  {kind}" in plan:
            pytest.skip(f"only root {why}")
    done = seeded("--seed", seed, "--work", str(tmp_path / "run"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_draws_the_same_plan_every_time():
    plans = [[seeded("--seed", str(seed), "--plan").stdout for seed in (1, 2)] for _ in range(2)]
    assert plans[0] == plans[1] and plans[0][0] != plans[0][1] and "seed 1" in plans[0][0]
