"""``make chaos`` in short: schedules replay, and a round of each combination of stores is well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from chaos.faults import FAULTS
from chaos.schedule import KINDS, POSTGRES, SQLITE, STORES, VALKEY, schedule

ROOT = Path(__file__).parents[2]


def test_a_seed_gives_the_same_schedule_every_time():
    assert [schedule(seed) for seed in range(50)] == [schedule(seed) for seed in range(50)]
    assert len({str(schedule(seed)) for seed in range(50)}) == 50


def test_every_kind_of_fault_and_every_combination_is_drawn():
    drawn = [schedule(seed) for seed in range(300)]

    assert KINDS.keys() == FAULTS.keys()
    assert {strike.fault for plan in drawn for strike in plan.strikes} == KINDS.keys()
    assert {plan.stores for plan in drawn} == set(STORES)


@pytest.mark.e2e
@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("stores", "seed"),
    [
        pytest.param(SQLITE, 101, id="sqlite"),
        pytest.param(POSTGRES, 102, id="postgres", marks=[pytest.mark.postgres, pytest.mark.s3]),
        pytest.param(VALKEY, 103, id="valkey"),
    ],
)
def test_a_round_of_faults_loses_doubles_and_leaks_nothing(stores, seed):
    run("chaos", "--seed", str(seed), "--stores", stores, "--faults", "4")


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_overload_is_refused_fairly_or_served_and_nothing_accepted_is_lost():
    run("chaos.load", "--share", "0.02")


def run(module, *words):
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    played = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert played.returncode == 0, played.stdout + played.stderr
