"""Some rounds of every campaign; `python -m tests.campaign --minutes 60` runs all of them."""

import concurrent.futures
import itertools

from campaign import NAMES, Tally, play, rounds, table

FEW = {"cache": 10, "cells": 8, "folders": 2, "memory": 2, "hostile": 4}


def test_some_rounds_of_every_campaign_find_no_fault():
    """Side by side, for each begins a process of its own."""

    def some(name):
        return [(name, *told) for told in itertools.islice(rounds(name, 0), FEW[name])]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        told = [line for lines in pool.map(some, NAMES) for line in lines]
    assert len(told) == sum(FEW[name] for name in NAMES)
    assert [line for line in told if line[2]] == []


def fake(monkeypatch, lines):
    module = type(
        "module", (), {"COUNTS": {"a": 2, "b": 1}, "rounds": staticmethod(lambda seed: (line for line in lines))}
    )
    monkeypatch.setattr("importlib.import_module", lambda name, package: module)


def test_a_campaign_goes_on_over_seeds_until_its_counts_are_reached(monkeypatch):
    fake(monkeypatch, [("a", None), ("b", "broken")])
    told = []
    tallies = play("any", 100, 5, told.append)
    assert tallies == {"a": Tally(2, 2), "b": Tally(1, 1, ["seed 5: broken"])}
    assert told == ["any, b, seed 5: broken"]
    assert [line.split() for line in table({"any": tallies})] == [
        ["campaign", "kind", "asked", "tried", "faults"],
        ["any", "a", "2", "2", "0"],
        ["any", "b", "1", "1", "1"],
    ]


def test_a_campaign_that_ends_early_says_what_was_not_reached(monkeypatch):
    fake(monkeypatch, [("a", None), ("b", None)])
    assert "not reached" in table({"any": play("any", -1)})[1]


def test_a_campaign_without_rounds_is_a_fault(monkeypatch):
    fake(monkeypatch, [])
    assert play("any", 100)["none"].faults == ["seed 0: no round at all"]
