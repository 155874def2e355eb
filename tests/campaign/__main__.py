"""`python -m tests.campaign --minutes 60 --only cache,cells`: what was asked, tried and found; exit code 1 where there is a fault."""

import argparse
import os
import sys
import time

from tests.campaign import NAMES, play, table


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign", description="Rounds of each campaign, and their faults."
    )
    parser.add_argument("--minutes", type=float, default=60, help="of all campaigns together (60)")
    parser.add_argument("--only", default=",".join(NAMES), help=f"some of {','.join(NAMES)}")
    parser.add_argument("--seed", type=int, default=0, help="of the first rounds (0)")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"--only takes some of {','.join(NAMES)}. Received: {','.join(sorted(unknown))}.")
    end, results = time.monotonic() + 60 * options.minutes, {}
    for number, name in enumerate(names):
        left = end - time.monotonic()
        results[name] = play(name, left / (len(names) - number), options.seed, lambda line: print(line, flush=True))
        print(f"{name}: {sum(tally.tried for tally in results[name].values()):,} rounds.", flush=True)
    print("\n".join(["", *table(results)]))
    if os.geteuid():
        print("\nFull disks: limits of file sizes, for a tmpfs needs root.")
    return int(any(tally.faults for tallies in results.values() for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
