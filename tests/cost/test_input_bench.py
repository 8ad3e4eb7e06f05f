"""Reading is measured with each number of threads and workers."""

import pathlib

from mvjax.core import config
from mvjax.cost import input_bench
from mvjax.train import run as run_lib

CONFIG = pathlib.Path(__file__).parents[1] / "toy/scenic.py"


def test_ways_reach_the_cores():
    assert input_bench.ways(1) == [(0, 0), (1, 0), (1, 1)]
    assert input_bench.ways(6)[1:5] == [(1, 0), (2, 0), (4, 0), (6, 0)]
    assert input_bench.ways(6)[5:] == [(1, 1), (1, 2), (1, 4), (1, 6)]


def test_rows_count_records(monkeypatch):
    monkeypatch.setattr(input_bench, "ways", lambda cores: [(0, 0), (2, 0)])
    run = run_lib.Run(config.load(f"{CONFIG}:beside"))
    said = []
    rows = input_bench.measure(run, steps=3, say=said.append)
    assert [row[:2] for row in rows] == [(0, 0), (2, 0)] and len(said) == 2
    assert all(row.records_per_second > 0 for row in rows)
    shown = input_bench.table(
        [input_bench.Row(0, 0, 50.0), input_bench.Row(2, 1, 125.0)]
    )
    assert shown.splitlines()[-1].split() == ["2", "1", "125.0", "2.50"]


def test_advice_takes_processes_only_where_threads_are_slow():
    def advise(*rates):
        ways = ((0, 0), (1, 0), (2, 0), (1, 1), (1, 2))
        rows = [
            input_bench.Row(*way, rate) for way, rate in zip(ways, rates, strict=True)
        ]
        return input_bench.advise(rows)

    assert advise(100, 95, 190, 90, 200).startswith(
        "--config.data.threads=2 --config.data.workers=0: nothing"
    )
    assert advise(100, 95, 96, 97, 99).startswith("--config.data.threads=0 ")
    slow = advise(100, 95, 130, 90, 200)
    assert slow.startswith("--config.data.threads=1 --config.data.workers=2: threads")
