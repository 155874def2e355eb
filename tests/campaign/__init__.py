"""A campaign against the library: killed processes, full disks, damaged and hostile files, long processes.

    python -m tests.campaign --minutes 60

A file here is a campaign of its own: `rounds(seed)` yields (kind, fault or None) of one round after another, and COUNTS tells how
many rounds of each kind are asked.
"""

import contextlib
import dataclasses
import importlib
import itertools
import pathlib
import time

NAMES = sorted(file.stem for file in pathlib.Path(__file__).parent.glob("[!_]*.py"))


@dataclasses.dataclass
class Tally:
    """Rounds of one kind."""

    asked: int = 0
    tried: int = 0
    faults: list = dataclasses.field(default_factory=list)


def rounds(name, seed):
    """(kind, fault or None) of one round of a campaign after another."""
    return importlib.import_module(f".{name}", __package__).rounds(seed)


def play(name, seconds, seed=0, tell=print):
    """{kind: `Tally`} of a campaign, once all rounds that are asked were tried, or the time is over.

    Args:
        name: of `NAMES`.
        seconds: int. seed: int, the first one.
        tell: function, called with a sentence for each fault.
    """
    until = time.monotonic() + seconds
    tallies = {kind: Tally(asked) for kind, asked in importlib.import_module(f".{name}", __package__).COUNTS.items()}
    for turn in itertools.count(seed):
        tried = 0
        with contextlib.closing(rounds(name, turn)) as all_rounds:
            for tried, (kind, fault) in enumerate(all_rounds, 1):  # noqa: B007 it is asked for below
                tally = tallies.setdefault(kind, Tally())
                tally.tried += 1
                if fault:
                    tally.faults.append(f"seed {turn}: {fault}")
                    tell(f"{name}, {kind}, {tally.faults[-1]}")
                if time.monotonic() > until or all(tally.tried >= tally.asked for tally in tallies.values()):
                    return tallies
        if not tried:
            tallies.setdefault("none", Tally()).faults.append(f"seed {turn}: no round at all")
            return tallies


def table(results):
    """What was asked, tried and found, in lines.

    Args:
        results: {name: {kind: `Tally`}}.
    """
    rows = [("campaign", "kind", "asked", "tried", "faults", "")]
    for name, tallies in results.items():
        for kind, tally in tallies.items():
            short = "" if tally.tried >= tally.asked else "not reached"
            rows.append((name, kind, f"{tally.asked:,}", f"{tally.tried:,}", f"{len(tally.faults):,}", short))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = (str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.ljust)
    return ["  ".join(side(*cell) for side, *cell in zip(sides, row, widths, strict=True)).rstrip() for row in rows]
