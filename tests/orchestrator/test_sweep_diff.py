"""What differs between two sweeps, as people read it; and whether their common trials mean the same."""

from pathlib import Path

import pytest

from orchestrator.sweep.sweep_diff import differences, same_meaning
from orchestrator.sweep.sweep_file import Sweep, load_sweep
from tests.orchestrator.sweeps import SMALL

BY_LOSS = "grid.sparsity_coeff={local: [1, 3], e2e: [0.5, 2], e2e_downstream: [7]}"


def sweep(folder: Path, *overrides: str) -> Sweep:
    path = folder / "small.yaml"
    path.write_text(SMALL, "utf-8")
    return load_sweep(path, overrides)


def lines(folder: Path, before: list[str], after: list[str]) -> list[str]:
    return [change.line for change in differences(sweep(folder, *before), sweep(folder, *after))]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (["train.tokens=200_000"], ["train.tokens=4e5"], ["train.tokens: 200_000 -> 400_000"]),
        (["train.lr=1e-3"], ["train.lr={local: 1e-3, e2e: 5e-4}"], ["train.lr.e2e: 0.001 -> 0.0005"]),
        ([BY_LOSS], [BY_LOSS.replace("0.5, 2", "2, 12")], ["grid.sparsity_coeff.e2e: +12 -0.5"]),
        (["grid.layer=[1, 3]"], ["grid.layer=[3, 4, 2]"], ["grid.layer: +4 +2 -1"]),
        (["grid.layer=[1, 3]"], ["grid.layer=all"], ["grid.layer: [1, 3] -> all"]),
        ([], ["grid.train.lr=[1e-3, 1e-2]"], ["grid.train.lr: +0.001 +0.01"]),
        ([], ["grid.seed=[0, 1]"], ["grid.seed: +1"]),
        ([], ["grid.exclude=[{layer: 1, loss: e2e}]"], ["grid.exclude: +{layer: 1, loss: e2e}"]),
        ([], ["resources.cpus_per_pack=2"], ["resources.cpus_per_pack: 1 -> 2"]),
        ([], ["name=other"], ["name: small -> other"]),
        ([], ["model.center_residual=true"], ["model.center_residual: false -> true"]),
        ([], ["loss.mixed.kl_coeff=1"], []),
        (["train.clip_norm=10", "train.tokens=1e3"], ["train.tokens=1_000"], []),
    ],
)
def test_each_difference_is_a_line_with_both_values(
    tmp_path: Path, before: list[str], after: list[str], said: list[str]
) -> None:
    found = lines(tmp_path, before, after)
    assert sorted(found) == sorted(said)


def test_a_password_in_the_tracking_address_is_in_no_line(tmp_path: Path) -> None:
    found = lines(tmp_path, [], ["tracking.uri=https://me:secret@host/x"])
    assert found == ["tracking.uri: default -> https://me:***@host/x"]
    assert "secret" not in sweep(tmp_path, "tracking.uri=https://me:secret@host/x").to_yaml()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["grid.layer=[1, 2, 3]"]),
        ([], ["grid.layer=all", "grid.exclude=[{layer: last, loss: e2e_downstream}]"]),
        ([], ["grid.seed=[0, 1]", "grid.sparsity_coeff=[9]"]),
        ([], ["grid.loss=[local, e2e]"]),
        (["grid.loss=[local, e2e]", "loss={}"], []),
        (["grid.loss=[local]", "train.lr={local: 1e-3}"], ["train.lr={local: 1e-3, e2e: 1e-4, e2e_downstream: 1e-4}"]),
        (["grid.layer=[1]", "train.lr={0-2: 1e-3}"], ["train.lr={0-2: 1e-3, 3: 1e-4}"]),
        ([], ["grid.train.lr=[1e-3, 5e-4]"]),
        ([], ["resources.cpus_per_pack=2", "tracking.uri=http://x", "logging.log_every_steps=1"]),
    ],
)
def test_a_grid_that_grows_or_shrinks_means_the_same(tmp_path: Path, before: list[str], after: list[str]) -> None:
    first, second = sweep(tmp_path, *before), sweep(tmp_path, *after)
    assert same_meaning(first, second)
    assert same_meaning(second, first)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["train.tokens=2_000"]),
        ([], ["data.seed=1"]),
        ([], ["eval.alive_window_tokens=7"]),
        ([], ["loss.e2e_downstream.downstream_coeff=25"]),
        ([], ["train.lr={local: 5e-4, e2e: 5e-4, e2e_downstream: 1e-4}"]),
        (["train.lr={0-2: 1e-3, 3-5: 1e-4}"], ["train.lr={0-2: 1e-3, 3-5: 1e-5}"]),
        (["grid.layer=all", "train.lr={0-3: 1e-3, 4-5: 1e-4}"], ["grid.layer=all", "train.lr={0-2: 1e-3, 3-5: 1e-4}"]),
        (["grid.loss=local"], ["grid.loss=e2e", "train.tokens=2_000"]),
        ([], ["name=other"]),
    ],
)
def test_another_value_for_a_common_trial_means_something_else(
    tmp_path: Path, before: list[str], after: list[str]
) -> None:
    first, second = sweep(tmp_path, *before), sweep(tmp_path, *after)
    assert not same_meaning(first, second)
    assert not same_meaning(second, first)
