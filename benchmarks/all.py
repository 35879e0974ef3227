"""Every benchmark of docs/performance.md in turn: `python -m benchmarks.all --peers-python PYTHON --e2e-sae PATH`.

PYTHON is that of the environment that has the other tools (docs/performance.md says how to make it), PATH a checkout of
e2e_sae. Without them the comparisons that need them are left out, and their old results stay. Other options, such as
those of the shape and the device, go to every benchmark. Takes some 15 minutes on two idle cores.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.report import BFLOAT16, RESULTS, update

COMPARISONS = ("compare_saelens", "compare_dictionary_learning")


def commands(out: Path, *, peers_python: str | None, e2e_sae: Path | None, more: list[str]) -> Iterator[list[str]]:
    """What is run, in order. `more` goes to each."""

    def command(python: str, name: str, *options: str, result: str = "") -> list[str]:
        return [python, "-m", f"benchmarks.{name}", "--out", str(out / f"{result or name}.json"), *options, *more]

    yield command(sys.executable, "step")
    if peers_python:
        if e2e_sae:
            checkout = ("--e2e-sae", str(e2e_sae))
            yield command(peers_python, "compare_e2e_sae", *checkout)
            half = ("--compute-dtype", "bfloat16", "--clocks", "process")
            yield command(peers_python, "compare_e2e_sae", *checkout, *half, result=BFLOAT16)
        for name in COMPARISONS:
            yield command(peers_python, name)
    yield command(sys.executable, "growth")


def main() -> None:
    """Run them; then fill in the tables and pictures of docs/performance.md, if the results are kept where it reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peers-python", help="python of the environment with the other tools")
    parser.add_argument("--e2e-sae", type=Path, help="checkout of ApolloResearch/e2e_sae at commit 83b4add")
    arguments, more = parser.parse_known_args()
    for command in commands(arguments.out, peers_python=arguments.peers_python, e2e_sae=arguments.e2e_sae, more=more):
        print("$", " ".join(command), flush=True)
        subprocess.run(command, check=True)
    if arguments.out.resolve() == RESULTS.resolve():
        update()


if __name__ == "__main__":
    main()
