"""`python -m benchmarks [NAME...] [--quick]`: measure, print tables, and write figure, text and JSON."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from benchmarks.environment import description, ensure, processors
from benchmarks.report import heading, rendered, saved, table
from benchmarks.suite import Effort

BENCHMARKS = (
    "blur_meta_gradient",
    "small_networks",
    "training_step",
    "memory",
    "first_step",
    "scaling",
    "maml",
    "omniglot_maml",
    "hypergradients",
    "blur_genome",
    "distributed",
)


def main(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    ensure(options.threads, arguments)
    from benchmarks.plots import drawn

    machine = description()
    _print(heading(machine))
    found = []
    start = time.perf_counter()
    for name in options.names or BENCHMARKS:
        for section in importlib.import_module(f"benchmarks.{name}").sections(Effort(options.quick, _progress)):
            found.append(section)
            _print("\n" + table(section))
            # Written again after each section: what was measured is there if a later one is stopped.
            paths = saved(found, machine, options.out / "results.json"), options.out / "results.txt"
            paths[1].write_text(rendered(found, machine))
    picture = drawn(found, options.out / "results.png")
    _print(f"\n{time.perf_counter() - start:.0f} s; {paths[1]}, {paths[0]}, {picture}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--quick", action="store_true", help="small problems: see that all runs; the figures mean nothing"
    )
    parser.add_argument("--threads", type=int, default=processors(), help="threads of every contender (default: all)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), help="folder of the results (default: runs/bench)"
    )
    return parser


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
