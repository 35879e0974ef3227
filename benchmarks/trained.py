"""Really trained trials for benchmarks of searches: each is trained once and kept by its id in one file.

They train in packs, as a launch trains them, but in this process: a trial's numbers do not depend on its company, so
many searches can share a pack.
"""

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from orchestrator.folder.records import Facts, Row, RowStatus, Versions
from orchestrator.packs.held import held_model, held_rows
from trainer.config import TrialConfig
from trainer.data import default_cache
from trainer.pack import Diverged, Evaluated, Finished, Pack, Trained
from trainer.precision import DTYPES

AT_ONCE = 36
"""Most trials of a pack."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Point = dict[str, float]


class TrainedTrials:
    """What came of each trial that was ever asked for."""

    def __init__(self, path: Path, *, eval_every_tokens: int | None = None) -> None:
        """`eval_every_tokens`: how often curves are measured on the way."""
        self._path, self._every = path, eval_every_tokens
        lines = path.read_text().splitlines() if path.exists() else []
        self._known: dict[str, dict[str, Any]] = {line["trial_id"]: line for line in map(json.loads, lines)}

    def rows(self, configs: Sequence[TrialConfig]) -> dict[str, Row]:
        """By trial id; those that are not known yet are trained now."""
        missing = {config.trial_id: config for config in configs if config.trial_id not in self._known}
        for start in range(0, len(missing), AT_ONCE):
            self._train(list(missing.values())[start : start + AT_ONCE])
        return {config.trial_id: _row(config, self._known[config.trial_id]) for config in configs}

    def curve(self, trial_id: str) -> list[tuple[int, Point]]:
        """Held-out metrics on the way, by tokens."""
        return [(tokens, point) for tokens, point in self._known[trial_id]["curve"]]

    def _train(self, configs: Sequence[TrialConfig]) -> None:
        first, started_s = configs[0], time.perf_counter()
        device = torch.device("cpu")
        model = held_model(first.model, device, DTYPES[first.train.compute_dtype])  # pyright: ignore[reportArgumentType]
        rows = held_rows(first.data, first.model, model.d_vocab, str(default_cache()))  # pyright: ignore[reportArgumentType]
        pack = Pack(configs, model=model, rows=rows)
        curves: dict[str, list[tuple[int, Point]]] = {config.trial_id: [] for config in configs}
        alive: dict[str, float] = {}
        for event in pack.train(log_every_steps=1, eval_every_tokens=self._every):
            match event:
                case Trained():
                    alive |= {id_: values["train/n_alive"] for id_, values in event.metrics.items()}
                case Evaluated():
                    for id_, values in event.metrics.items():
                        point = _numbers(values) | ({"n_alive_elements": alive[id_]} if id_ in alive else {})
                        curves[id_].append((event.tokens, point))
                case Finished():
                    results = {id_: _numbers(result.metrics) for id_, result in event.results.items()}
                    self._keep({id_: {"metrics": metrics, "curve": curves[id_]} for id_, metrics in results.items()})
                case Diverged():
                    self._keep({event.trial_id: {"metrics": None, "curve": curves[event.trial_id]}})
                case _:
                    pass
        took_s = time.perf_counter() - started_s
        print(f"{len(configs)} trials of {first.train.tokens:,} tokens in {took_s:.0f} s", flush=True)

    def _keep(self, found: dict[str, dict[str, Any]]) -> None:
        lines = [{"trial_id": id_, **values} for id_, values in found.items()]
        with self._path.open("a") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
        self._known |= {line["trial_id"]: line for line in lines}


def points_of(rows: Iterable[Row], *metrics: str) -> dict[float, tuple[float, ...]]:
    """The metrics of those that did not fail, by coefficient, ascending."""
    done = sorted((row for row in rows if row.status is RowStatus.DONE), key=lambda row: row.config.loss.sparsity_coeff)
    return {row.config.loss.sparsity_coeff: tuple(_number(row.metrics[name]) for name in metrics) for row in done}


def _numbers(values: Any) -> Point:
    return {name: float(value) for name, value in values.items() if not isinstance(value, list)}


def _number(value: object) -> float:
    assert isinstance(value, float)
    return value


def _row(config: TrialConfig, known: dict[str, Any]) -> Row:
    n_tokens = config.n_steps * config.tokens_per_step
    done = known["metrics"] is not None
    return Row(
        trial_id=config.trial_id,
        run_name=config.run_name,
        pack_id="trained",
        status=RowStatus.DONE if done else RowStatus.FAILED,
        config=config,
        facts=Facts(
            d_model=1,
            d_sae=config.sae.d_sae(1),
            n_train_tokens=n_tokens,
            n_eval_tokens=1,
            data_hash="",
            eval_hash="",
            model_hash="",
        ),
        metrics=known["metrics"] or {},
        versions=Versions(code="", python="", torch=torch.__version__, device="cpu"),
        started_at=NOW,
        finished_at=NOW,
    )
