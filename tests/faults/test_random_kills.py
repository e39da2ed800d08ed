"""kill -9 at moments that nobody chose; `benchmarks/kill.py` takes a hundred."""

from __future__ import annotations

from faults.random_kills import Campaign
from small import coloured, write_folder


def test_three_random_kills_cost_nothing_but_time(tmp_path):
    for seed, part in enumerate(("train", "test")):
        write_folder(coloured(3, seed=seed), tmp_path / part)
    campaign = Campaign(tmp_path / "work", "../train", "../test", seed=5)  # all three in a row
    campaign.run(3)
    assert campaign.wrong == [] and sum(campaign.hits.values()) == 3 and campaign.ends >= 1
