"""The dashboard's pictures of the README and of docs/dashboard.md: `python -m tests.dashboards.pictures RUN [RUN]`.

RUN is a run folder, such as the quick start's with three seeds; the second, which has elements, is the one whose trial
is shown. They are copied to a folder of their own, so nothing beside them is on the picture.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from tests.dashboards.browser import Visit, browser, served

FOLDER = Path(__file__).parents[2] / "docs" / "img"
HIDE = "document.querySelector('footer').style.position = 'static'"


def pictures(frontier: Path, trial: Path) -> None:
    """`dashboard-frontier.png` and `dashboard-elements.png`, each below 250 kB."""
    with tempfile.TemporaryDirectory() as here:
        runs = Path(here)
        for run in {frontier.resolve(), trial.resolve()}:
            shutil.copytree(
                run, runs / run.name, ignore=shutil.ignore_patterns("packs", "checkpoints", "saes", "mlflow*")
            )
        with browser() as chromium, served(runs) as address:
            visit = Visit(chromium, width=1280, height=1200)
            visit.open(f"{address}#/frontier/{frontier.name}?pair=l0&log_ce_loss_increase=1")
            visit.page.screenshot(path=FOLDER / "dashboard-frontier.png")
            trial_id = most_telling(runs / trial.name)
            visit.open(f"{address}#/trial/{trial.name}/{trial_id}")
            visit.page.evaluate(HIDE)
            visit.page.locator("[data-part=elements]").scroll_into_view_if_needed()
            visit.page.evaluate("document.querySelector('[data-part=elements]').scrollIntoView()")
            visit.page.screenshot(
                path=FOLDER / "dashboard-elements.png", clip={"x": 0, "y": 0, "width": 1280, "height": 900}
            )
            visit.close()
    for path in FOLDER.glob("dashboard-*.png"):
        with Image.open(path) as picture:
            few = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


def most_telling(run: Path) -> str:
    """Of the trials with elements the one on a frontier that explains most."""
    with (run / "frontier.parquet").open("rb") as file:
        rows = pq.ParquetFile(file).read().to_pylist()
    kept = [row for row in rows if (run / "elements" / f"{row['trial_id']}.json").exists()]
    return max(kept or rows, key=lambda row: (row["on_front_l0"], row["l0"] < 60, row["explained_variance"] or 0))[
        "trial_id"
    ]


if __name__ == "__main__":
    pictures(Path(sys.argv[1]), Path(sys.argv[-1]))
