"""Keep what `paper` made of a run, small enough for a repository: `python -m benchmarks.keep_paper RUN/paper FOLDER`.

Tables without a line per element or token, LaTeX, `paper.json`, and figures as PNG with fewer colours. What is in the
folder already and is not made anew is deleted, but for its README.
"""

import argparse
import shutil
from pathlib import Path

from PIL import Image

LARGEST_TABLE = 60_000
"""Bytes. Larger ones have a line per element or point."""
N_COLOURS = 96
FRONTIER = ("frontier_matched.parquet", "frontier_summary.parquet")
"""Of the run itself: what its fronts say of equal CE loss increase and equal L0."""


def keep(paper: Path, folder: Path) -> int:
    """Returns how many bytes there are now."""
    for old in ("tables", "figures", "latex"):
        shutil.rmtree(folder / old, ignore_errors=True)
        (folder / old).mkdir(parents=True)
    for table in sorted(paper.glob("*.parquet")):
        if table.stat().st_size <= LARGEST_TABLE:
            shutil.copyfile(table, folder / "tables" / table.name)
    for text in sorted(paper.glob("latex/*.tex")):
        shutil.copyfile(text, folder / "latex" / text.name)
    for name in FRONTIER:
        if (paper.parent / name).exists():
            shutil.copyfile(paper.parent / name, folder / "tables" / name)
    shutil.copyfile(paper / "paper.json", folder / "paper.json")
    for figure in sorted(paper.glob("figures/*.png")):
        with Image.open(figure) as picture:
            picture.convert("RGB").quantize(N_COLOURS).save(folder / "figures" / figure.name, optimize=True)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", type=Path, help="RUN/paper")
    parser.add_argument("folder", type=Path, help="where to, such as docs/results/paper-on-builtin")
    given = parser.parse_args()
    print(f"{keep(given.paper, given.folder) / 1e6:.1f} MB in {given.folder}")


if __name__ == "__main__":
    main()
