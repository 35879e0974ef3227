"""What a run says about its trial: everything that people compare, filter and group by."""

from orchestrator import tracking
from tests.orchestrator.rows import a_config


def test_params_hold_what_a_reader_compares_runs_by() -> None:
    config = a_config(loss="e2e_downstream", coeff=10.0, layer=3, seed=1)
    run = tracking.describe_trial(config, d_model=32, pack_id="p001")
    expected = {
        "sparsity_coeff": "10.0",
        "downstream_coeff": "2.5",
        "kl_coeff": "0.5",
        "layer": "3",
        "loss": "e2e_downstream",
        "seed": "1",
        "lr": "0.0005",
        "d_sae": "128",
        "ratio": "4.0",
        "tokens": "100000",
        "batch_rows": "8",
        "context": "64",
        "model": "gpt2",
        "dataset": "builtin",
        "hookpoint": "blocks.3.hook_resid_pre",
    }
    assert expected.items() <= run.params.items()
    assert "downstream_coeff" not in tracking.describe_trial(a_config(), d_model=32, pack_id="p").params


def test_tags_hold_what_a_reader_filters_by() -> None:
    config = a_config(loss="e2e", coeff=2.0, layer=3, seed=1)
    run = tracking.describe_trial(config, d_model=32, pack_id="p001")
    assert run.run_name == "L3-e2e-c2-s1"
    assert run.tags == {"trial_id": config.trial_id, "layer": "3", "loss": "e2e", "seed": "1", "pack_id": "p001"}


def test_a_width_that_is_not_known_is_left_for_later_and_no_password_is_told() -> None:
    config = a_config()
    data = config.data.model_copy(update={"dataset": "https://user:geheim@host/text"})
    run = tracking.describe_trial(config.model_copy(update={"data": data}), d_model=None, pack_id="p001")
    assert "d_sae" not in run.params
    assert run.params["dataset"] == "https://user:***@host/text"
