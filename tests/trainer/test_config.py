"""A trial is its config: checked once, immutable, and named by a hash of itself."""

import pytest
from pydantic import ValidationError

from tests.trainer.conftest import make_trial
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import E2EDownstreamLoss, LocalLoss, MixedLoss


def test_a_trial_id_is_the_same_whatever_way_its_config_was_written() -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=2.0))
    assert TrialConfig.model_validate(trial.model_dump()).trial_id == trial.trial_id
    assert TrialConfig.model_validate_json(trial.model_dump_json()).trial_id == trial.trial_id
    whole = make_trial(LocalLoss(sparsity_coeff=2))
    assert whole.trial_id == trial.trial_id


def test_a_trial_id_is_pinned_so_that_finished_sweeps_stay_finished() -> None:
    """Fails when a field is added or a default changes: then every stored trial would be run again."""
    assert make_trial(LocalLoss(sparsity_coeff=2.0)).trial_id == "58097786cffeb830"


def test_every_field_that_matters_changes_the_id() -> None:
    base = make_trial(LocalLoss(sparsity_coeff=2.0))
    others = [
        make_trial(LocalLoss(sparsity_coeff=2.5)),
        make_trial(LocalLoss(sparsity_coeff=2.0, sparsity_p=0.5)),
        make_trial(MixedLoss(sparsity_coeff=2.0, local_coeff=1.0)),
        make_trial(LocalLoss(sparsity_coeff=2.0), seed=1),
        make_trial(LocalLoss(sparsity_coeff=2.0), layer=0),
        make_trial(LocalLoss(sparsity_coeff=2.0), ratio=3.0),
        make_trial(LocalLoss(sparsity_coeff=2.0), train={"lr": 2e-2}),
        make_trial(LocalLoss(sparsity_coeff=2.0), train={"clip_norm": "off"}),
    ]
    assert len({trial.trial_id for trial in [base, *others]}) == len(others) + 1


def test_trials_that_differ_only_in_their_sae_or_loss_share_batches() -> None:
    a = make_trial(LocalLoss(sparsity_coeff=2.0))
    b = make_trial(E2EDownstreamLoss(sparsity_coeff=1.0, downstream_coeff=1.0), layer=0, seed=4, ratio=8.0)
    assert a.shares_batches_with == b.shares_batches_with
    assert a.shares_batches_with != make_trial(LocalLoss(sparsity_coeff=2.0), n_steps=11).shares_batches_with


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LocalLoss(sparsity_coeff=0.0), "greater than 0"),
        (lambda: LocalLoss(sparsity_coeff=float("nan")), "finite"),
        (lambda: LocalLoss(sparsity_coeff="1"), "valid number"),
        (lambda: LocalLoss(sparsity_coef=1.0), "Extra inputs"),
        (lambda: MixedLoss(sparsity_coeff=1.0), "at least one of"),
        (lambda: E2EDownstreamLoss(sparsity_coeff=1.0), "Field required"),
        (lambda: TrainConfig(tokens=-5, batch_rows=1), "greater than 0"),
        (lambda: TrainConfig(tokens=5, batch_rows=1, clip_norm=0.0), "greater than 0"),
        (lambda: SAEConfig(ratio=float("inf")), "finite"),
        (lambda: ModelConfig(name=""), "at least 1 character"),
        (lambda: DataConfig(dataset="x", context=True), "valid integer"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()  # type: ignore[operator]


def test_a_config_cannot_be_changed() -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=2.0))
    with pytest.raises(ValidationError, match="frozen"):
        trial.seed = 3  # type: ignore[misc]


def test_names_and_counts_follow_from_the_config() -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=0.5), layer=2, seed=3, train={"tokens": 1000})
    assert trial.run_name == "L2-local-c0.5-s3"
    assert trial.layer == 2
    assert trial.tokens_per_step == 24
    assert trial.n_steps == 41
    assert SAEConfig(ratio=60).d_sae(768) == 46080
