"""Sweeps on a Dask cluster of three processes: the rows of one process, also when a worker is killed midway."""

import os
import signal
import threading
import time

import pandas as pd
import pytest

import distilkit as dk
from distilkit.errors import BadType, BadValue

GRID = {"alpha": (0, 0.9), "lr": (0.001, 0.002, 0.005, 0.01, 0.02, 0.05), "seeds": 17, "steps": 5}
RUNS = 2 * 6 * 17


@pytest.fixture(scope="module")
def task():
    return dk.tasks.digits()


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    local = {"n_workers": 3, "threads_per_worker": 2, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(**local) as cluster, Client(cluster) as client:
        yield client


def same(left, right):
    pd.testing.assert_frame_equal(left.drop(columns="seconds"), right.drop(columns="seconds"), check_exact=True)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_repeats_nothing(task, client, tmp_path):
    path = tmp_path / "runs.parquet"
    side, victims, written = tmp_path / "runs.parquet.jsonl", client.run(os.getpid), []

    def kill_midway():
        while len(written) < RUNS // 3:
            time.sleep(0.02)
            written[:] = side.read_text().splitlines() if side.exists() else []
        os.kill(next(iter(victims.values())), signal.SIGKILL)

    killer = threading.Thread(target=kill_midway)
    killer.start()
    frame = dk.sweep(task, **GRID, path=path, jobs=client)
    killer.join()
    assert RUNS // 3 <= len(written) < RUNS
    assert next(iter(victims)) not in client.scheduler_info()["workers"]
    assert len(frame) == RUNS >= 200
    settings = ["temperature", "alpha", "labelled", "lr", "seed"]
    assert not pd.read_parquet(path).duplicated(settings).any()
    assert len(pd.read_parquet(path)) == RUNS
    few = frame[frame["seed"] < 3].reset_index(drop=True)
    same(few, dk.sweep(task, **GRID | {"seeds": 3}, jobs=1))
    same(frame, dk.sweep(task, **GRID, path=path, jobs=client))  # all of it is on file


def test_the_schedulers_address_is_enough(task, client):
    small = GRID | {"lr": 0.01, "seeds": 2}
    same(dk.sweep(task, **small, jobs=client.scheduler.address), dk.sweep(task, **small, jobs=1))


def test_an_error_of_a_run_is_the_sweeps(task, client, monkeypatch):
    with pytest.raises(BadValue, match="labelled must lie in"):
        client.submit(task.relabelled, 5, 0).result()
    with pytest.raises(dk.DistilkitError, match="diverged at step"):
        dk.sweep(task, lr=1e5, steps=50, seeds=1, jobs=client)


def test_no_cluster_there(task):
    with pytest.raises(BadValue, match=r"no Dask scheduler at 'nowhere'"):
        dk.sweep(task, seeds=1, steps=1, jobs="nowhere")
    with pytest.raises(BadType, match="the address of a Dask scheduler"):
        dk.sweep(task, seeds=1, steps=1, jobs=[4])
