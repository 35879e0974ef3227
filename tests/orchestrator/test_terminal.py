"""What people see: the picture, plain lines, JSON lines, from values alone; and what happens when a screen breaks."""

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from orchestrator.display.progress import SweepView, look, where
from orchestrator.display.screen import Guarded, JsonLines, PlainLines, duration_text, eta_text
from orchestrator.display.terminal import LiveScreen, choose_screen, drawn, is_live
from orchestrator.folder.records import Event, PackState, PackStatus, RowStatus, SavedPlan
from tests.orchestrator.rows import a_config
from trainer.data import Preparing

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TRIALS = [
    a_config(loss=loss, coeff=coeff, layer=layer) for layer in (1, 2) for loss in ("local", "e2e") for coeff in (1, 2)
]
PLAN = SavedPlan(
    sweep_id="demo-12345678",
    trials={trial.trial_id: trial for trial in TRIALS},
    run_names={trial.trial_id: trial.run_name for trial in TRIALS},
    packs={"aaaaaaaaaaaa": [t.trial_id for t in TRIALS[:4]], "bbbbbbbbbbbb": [t.trial_id for t in TRIALS[4:]]},
)
N_STEPS = TRIALS[0].n_steps


def a_status(pack_id: str = "aaaaaaaaaaaa", *, step: int = N_STEPS // 2, speed: float | None = 1000.0) -> PackStatus:
    return PackStatus(
        pack_id=pack_id,
        state=PackState.RUNNING,
        trial_ids=PLAN.packs[pack_id],
        step=step,
        n_steps=N_STEPS,
        tokens_per_s=speed,
        latest={
            trial_id: {"train/l0": 10.0 + index, "eval/ce_loss_increase": 0.5 / (1 + index)}
            for index, trial_id in enumerate(PLAN.packs[pack_id])
        },
        updated_at=NOON,
    )


def a_view(*statuses: PackStatus, ended: dict[str, RowStatus] | None = None) -> SweepView:
    return look(PLAN, {status.pack_id: status for status in statuses}, ended or {}, elapsed_s=60)


def printed(view: SweepView, *, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(drawn(view, notes={"MLflow": "somewhere"}))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def an_event(message: str = "something", *, level: str = "info") -> Event:
    return Event.model_validate_json(
        json.dumps(
            {"time": NOON.isoformat(), "level": level, "event": "kind", "message": message, "fields": {"l0": 3.5}}
        )
    )


class Broken:
    """A screen that cannot show anything."""

    def phase(self, text: str) -> None:
        raise OSError("the terminal is gone")

    def preparing(self, news: Preparing) -> None:
        raise OSError("the terminal is gone")

    def note(self, label: str, text: str) -> None:
        raise OSError("the terminal is gone")

    def event(self, event: Event) -> None:
        raise OSError("the terminal is gone")

    def update(self, view: SweepView) -> None:
        raise OSError("the terminal is gone")

    def close(self) -> None:
        raise OSError("the terminal is gone")


def test_counts_add_up_to_all_trials():
    first, second, third = PLAN.packs["bbbbbbbbbbbb"][:3]
    ended = {first: RowStatus.DONE, second: RowStatus.FAILED, third: RowStatus.STOPPED}
    view = a_view(a_status(), ended=ended)
    assert (view.n_done, view.n_failed, view.n_stopped, view.n_running, view.n_waiting) == (1, 1, 1, 4, 1)


def test_the_fraction_counts_tokens_of_running_and_ended_trials_and_nothing_twice():
    half = a_view(a_status(), a_status("bbbbbbbbbbbb")).fraction
    assert half == pytest.approx(0.5, abs=0.01)
    done = dict.fromkeys(PLAN.packs["aaaaaaaaaaaa"], RowStatus.DONE)
    assert a_view(a_status(), a_status("bbbbbbbbbbbb", step=0), ended=done).fraction == 0.5
    assert a_view(ended=dict.fromkeys(PLAN.trials, RowStatus.FAILED)).fraction == 1.0


def test_the_time_left_is_tokens_left_over_the_speed_of_all_packs():
    view = a_view(a_status(step=0), a_status("bbbbbbbbbbbb", step=0))
    tokens = 8 * TRIALS[0].n_steps * TRIALS[0].tokens_per_step
    assert view.eta_s == pytest.approx(tokens / (4 * 1000 + 4 * 1000))


def test_nobody_guesses_a_time_left_before_two_packs_have_a_speed():
    view = a_view(a_status(), a_status("bbbbbbbbbbbb", speed=None))
    assert view.eta_s is None
    assert eta_text(view) == "estimating time left"
    assert a_view(a_status()).eta_s is not None


def test_a_sweep_that_nobody_works_on_has_no_running_packs():
    assert look(PLAN, {"aaaaaaaaaaaa": a_status()}, {}, elapsed_s=0, active=False).packs == ()


def test_the_picture_tells_of_each_pack_its_step_speed_l0_and_ce_increase():
    text = printed(a_view(a_status()))
    assert "demo-12345678   8 trials in 2 packs" in text
    assert "4 running" in text
    assert "4 waiting" in text
    assert f"{N_STEPS // 2}/{N_STEPS}" in text
    assert "4,000" in text  # SAE tokens per second: 1,000 of the stream, 4 SAEs
    assert "L1 local" in text
    assert "10 to 11" in text
    assert "0.250 to 0.500" in text
    assert "somewhere" in text


def test_a_pack_at_its_last_step_is_being_measured():
    assert "measuring" in printed(a_view(a_status(step=N_STEPS)))


def test_the_picture_fits_a_terminal_of_80_columns():
    assert max(len(line.rstrip()) for line in printed(a_view(a_status()), width=80).splitlines()) <= 80


def test_layers_and_losses_are_named_in_short():
    assert where([a_config(layer=layer) for layer in (1, 2, 3, 6)]) == "L1-3,6 local"
    assert where([a_config(loss="e2e_downstream")]) == "L1 e2e+ds"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (187, "3:07 min"), (7500, "2:05 h"), (4 * 86400, "4 days")],
)
def test_durations_are_short(seconds: float, text: str):
    assert duration_text(seconds) == text


def test_plain_lines_are_one_per_event():
    stream = io.StringIO()
    screen = PlainLines(stream)
    screen.event(an_event("a trial is done"))
    screen.event(an_event("a trial failed", level="error"))
    screen.update(a_view(a_status()))
    lines = stream.getvalue().splitlines()
    assert [line[9:] for line in lines] == ["a trial is done", "error: a trial failed"]


def test_plain_lines_beat_while_nothing_happens():
    stream = io.StringIO()
    screen = PlainLines(stream, heartbeat_s=0)
    screen.update(a_view(a_status()))
    assert "0 done, 4 running, 4 waiting" in stream.getvalue()
    assert f"aaaaaa at step {N_STEPS // 2}/{N_STEPS}" in stream.getvalue()


def test_json_lines_hold_the_event_and_its_fields():
    stream = io.StringIO()
    screen = JsonLines(stream, heartbeat_s=0)
    screen.update(a_view(a_status()))
    screen.event(an_event("a trial is done"))
    screen.preparing(Preparing("done", "split 'train' of x", 10, 10, 100, None))
    beat, event, rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert beat["event"] == "heartbeat"
    assert event | {"sweep_id": 0} == {
        "ts": NOON.isoformat(), "level": "info", "event": "kind", "sweep_id": 0, "pack_id": None, "trial_id": None,
        "msg": "a trial is done", "l0": 3.5,
    }  # fmt: skip
    assert event["sweep_id"] == "demo-12345678"
    assert rows["n_rows"] == 100


def test_a_screen_that_breaks_is_replaced_and_nobody_hears_of_it():
    stream = io.StringIO()
    screen = Guarded(Broken(), PlainLines(stream))
    screen.update(a_view(a_status()))
    screen.event(an_event("a trial is done"))
    screen.close()
    lines = stream.getvalue().splitlines()
    assert "the terminal is gone" in lines[0]
    assert lines[1].endswith("a trial is done")


def test_a_screen_whose_replacement_breaks_too_says_nothing():
    screen = Guarded(Broken(), Broken())
    screen.phase("reading")
    screen.update(a_view())
    screen.close()


def test_a_live_picture_leaves_errors_above_and_is_gone_at_the_end():
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    screen = LiveScreen(console)
    screen.phase("reading a sweep")
    screen.preparing(Preparing("making", "split 'train' of x", 10, 100, 7, None))
    screen.note("MLflow", "somewhere")
    screen.update(a_view(a_status()))
    screen.event(an_event("a trial failed", level="error"))
    screen.event(an_event("a trial is done"))
    screen.close()
    file = console.file
    assert isinstance(file, io.StringIO)
    assert "somewhere" in file.getvalue()
    assert "error: a trial failed" in file.getvalue()
    assert "a trial is done" not in file.getvalue()


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"TERM": "xterm", "CI": "true"}])
def test_nothing_is_redrawn_where_that_cannot_be_shown(environ: dict[str, str]):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert not is_live(Terminal(), environ)
    assert is_live(Terminal(), {"TERM": "xterm"})
    assert not is_live(io.StringIO(), {"TERM": "xterm"})


def test_a_pipe_gets_plain_lines():
    err = io.StringIO()
    screen = choose_screen(err=err, out=io.StringIO(), plain=False, log_format="text", environ={"TERM": "xterm"})
    screen.phase("reading")
    assert err.getvalue().endswith("reading\n")
