"""A run in a notebook: its tables as pandas or Polars, its pictures, its trials. Made by `orchestrator.load`.

Everything is read when it is asked for, from files alone, so a run that goes on shows what is new. pandas, Polars and
matplotlib are imported only by what needs them.
"""

# pyright: reportUnknownParameterType=false
# pyarrow ships no types.

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyarrow as pa

from dashboards import detail, report, trial
from dashboards.reading import Fields, Table, Unreadable, stamp, table_of
from dashboards.runs import Runs, is_run, line_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from matplotlib.figure import Figure

Name = Literal["frontier", "summary", "matched", "surfaces"]
NAMES: tuple[str, ...] = get_args(Name)


class Run:
    """One run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def status(self) -> Fields:
        """State, counts, cost and hypervolume, as in the dashboard's list."""
        return line_of(self.path)

    @property
    def settings(self) -> Fields:
        """The sweep file's values."""
        return detail.detail(self.path)["settings"]

    @property
    def facts(self) -> Fields:
        """What `frontier.parquet` says about itself: objectives, reference point, units and meanings of columns."""
        return self._table("frontier").facts

    @property
    def trials(self) -> list[Fields]:
        """Every trial of the plan and how it stands."""
        return detail.detail(self.path)["trials"]

    def arrow(self, name: Name = "frontier") -> pa.Table:
        """A table: `frontier` has a row per SAE, `summary` one per frontier; `matched` and `surfaces` follow."""
        return self._table(name).data

    def pandas(self, name: Name = "frontier") -> "pd.DataFrame":
        """The same for pandas."""
        return self.arrow(name).to_pandas()

    def polars(self, name: Name = "frontier") -> "pl.DataFrame":
        """The same for Polars."""
        import polars as pl

        found = pl.from_arrow(self.arrow(name))
        assert isinstance(found, pl.DataFrame)
        return found

    def trial(self, trial: str) -> Fields:
        """One trial whole, by its id or name: config, metrics, curves, densities, elements."""
        ids = {one["run_name"]: one["trial_id"] for one in self.trials}
        return _trial(self.path, ids.get(trial, trial))

    def curves(self, trial: str) -> "pd.DataFrame":
        """A trial's curves for pandas: a row per step, a column per metric."""
        import pandas as pd

        found = {name: pd.Series(c["values"], index=c["steps"]) for name, c in self.trial(trial)["curves"].items()}
        return pd.DataFrame(found).rename_axis("step")

    def figure(self) -> "Figure":
        """The frontiers, as `frontier.png` has them."""
        from dashboards.figures import frontier_figure

        self._table("frontier")
        return frontier_figure(self.path / "frontier.parquet")

    def paper_figure(self, *, inverted_y: bool = False, layers: tuple[int, ...] = ()) -> "Figure":
        """The frontiers in the layout of the paper, as `orchestrator plot` draws them."""
        from dashboards.paper_figure import paper_figure

        tables = (self.path / "frontier.parquet", self.path / "frontier_surfaces.parquet")
        return paper_figure(*tables, inverted_y=inverted_y, layers=layers)

    def report(self) -> str:
        """The report as HTML text, for a file or an iframe."""
        return report.report_of(self.path)

    def __repr__(self) -> str:
        status = self.status
        return f"<run {self.path}: {status['state']}, {status['n_done']} of {status['n_trials']} trials done>"

    def _repr_html_(self) -> str:
        status = self.status
        words = f"{status['state']}, {status['n_done']} of {status['n_trials']} trials done, {status['n_rows']} rows"
        return f"<b>{escape(status['name'])}</b> <code>{escape(str(self.path))}</code><br>{escape(words)}"

    def _table(self, name: Name) -> Table:
        if name not in NAMES:
            raise ValueError(f"no table {name!r}: expected one of {', '.join(NAMES)}")
        file = "frontier.parquet" if name == "frontier" else f"frontier_{name}.parquet"
        found = table_of(self.path, file)
        if found is None:
            raise Unreadable(f"{self.path} has no {file} yet: it is written when its first trials are done")
        return found


def load(run: str | Path, *, runs: str | Path = "runs") -> Run:
    """A run by its folder, its id, or its sweep's name, of which the newest is taken.

    Raises `ValueError`, with a sentence, where there is none.
    """
    for path in (Path(run), Path(runs) / run):
        if is_run(path):
            return Run(path)
    known = Runs.at(Path(runs)).lines()
    named = [line for line in known if str(run) in (line["name"], line["id"].rpartition("-")[0])]
    if named and stamp(Path(runs) / named[0]["id"]):
        return Run(Path(runs) / named[0]["id"])
    there = ", ".join(line["id"] for line in known[:10]) or f"none in {runs}"
    raise Unreadable(f"no run {str(run)!r}: expected a run folder or the name of a sweep; there are {there}")


def _trial(path: Path, trial_id: str) -> dict[str, Any]:
    try:
        return trial.trial(path, trial_id, most_points=10**9)
    except LookupError as problem:
        raise Unreadable(f"{trial_id!r}: {problem.args[0]}; Run.trials lists those that there are") from None
