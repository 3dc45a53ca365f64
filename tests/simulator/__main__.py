"""Run seeds: ``python -m tests.simulator --seeds 0-999``. A failing seed prints its replay."""

import argparse
import sys
import time
import traceback
from collections import Counter

from tests.simulator.check import check, expected
from tests.simulator.mutations import MUTATIONS, Mutation
from tests.simulator.plan import Plan
from tests.simulator.world import Violation, World


def look_for_mutations(seeds: range, numbers: list[int]) -> int:
    """Print the first seed that detects each mutation."""
    missed = 0
    for number, (name, mutation) in enumerate(MUTATIONS.items()):
        if numbers and number not in numbers:
            continue
        noticed = next(filter(None, (noticing(mutation, seed) for seed in seeds)), None)
        print(f"{number} {name}: " + (noticed or "not noticed"), flush=True)
        missed += noticed is None
    return 1 if missed else 0


def noticing(mutation: Mutation, seed: int) -> str | None:
    """Return the violation that the seed detects, if any."""
    expected(seed)
    with mutation():
        try:
            check(seed)
        except Violation as violation:
            return f"seed {seed}: {violation.args[0]}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--seeds", default="0-999", help="a seed, or the first and last of many")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    parser.add_argument("--keep-going", action="store_true", help="after a seed that fails, too")
    parser.add_argument(
        "--mutations", nargs="*", metavar="N", type=int,
        help="take safeguards away, one at a time, and name the first seed that notices",
    )  # fmt: skip
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    if options.mutations is not None:
        return look_for_mutations(range(int(first), int(last or first) + 1), options.mutations)
    began = time.monotonic()
    faults: Counter[str] = Counter()
    operations = failed = 0
    seeds = range(int(first), int(last or first) + 1)
    for seed in seeds:
        try:
            world = check(seed)
        except Violation as violation:
            text, world = (
                violation.args if len(violation.args) == 2 else (*violation.args, World(0))
            )
            failed += 1
            print(
                f"seed {seed}: {text}\n  replay: python -m tests.simulator --seeds {seed} --trace"
            )
            if options.trace:
                print(Plan.of(seed), *world.trace, sep="\n")
                traceback.print_exc()
            if not options.keep_going:
                return 1
        else:
            if options.trace:
                print(Plan.of(seed), *world.trace, sep="\n")
        faults += world.counts
        operations += world.operations
    seconds = time.monotonic() - began
    print(f"{len(seeds)} seeds, {failed} failed, {seconds:.1f} s, {operations:,} operations")
    print(", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
