"""One pack in this process, from its job to its rows. `--local` and Ray's workers run the same function.

The only place that catches broadly: whatever happens to a trial becomes its row. Knows neither Ray nor the terminal.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from orchestrator.held import device_for, device_name, held_model, held_rows, peak_memory_bytes
from orchestrator.jobs import PackJob, PackOutcome
from orchestrator.recorder import PackRecorder
from orchestrator.records import Facts, PackState, RowStatus
from orchestrator.run_folder import RunFolder
from orchestrator.tracking import ListLogger, MlflowLogger, TrialLogger, worker_address
from orchestrator.versions import versions_on
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.errors import BadInput, EnvironmentProblem
from trainer.models import FrozenModel
from trainer.pack import Diverged, Evaluated, Finished, Pack, Stepping, Trained, TrialResult
from trainer.step import DTYPES

FLUSH_S = 60.0
"""Longest wait for MLflow when a pack is finished; what it has not got then, the driver sends later."""
FLUSH_WHEN_STOPPED_S = 5.0

Stop = Callable[[], bool]
"""Whether a stop is asked for. Called between steps."""


class _Stopped(Exception):
    """A stop was asked for and is obeyed."""


def run_pack_here(job: PackJob, *, stop: Stop, logger: TrialLogger | None = None) -> PackOutcome:
    """Train the trials of a pack and write all there is to know about them into the run folder.

    `logger`: in place of the one for the MLflow runs that the run folder names. Raises nothing that is about a trial:
    a trial that diverged, a pack that does not fit, a missing file become failed rows.
    """
    folder = RunFolder(Path(job.folder))
    plan = folder.plan()
    if plan is None:
        raise BadInput(f"{folder.path} has no plan.json: a worker needs it")
    # An earlier attempt at this job may have got some of them done before its worker died.
    done = {row.trial_id for id_ in job.trial_ids if (row := folder.row(id_)) and row.status is RowStatus.DONE}
    trials = {trial_id: plan.trials[trial_id] for trial_id in job.trial_ids if trial_id not in done}
    if not trials:
        return PackOutcome(pack_id=job.pack_id, state=PackState.DONE)
    device = device_for(job.gpus)
    logger = logger or _logger(folder, job)
    recorder = PackRecorder(
        job,
        trials,
        run_names=plan.run_names,
        folder=folder,
        logger=logger,
        versions=versions_on(device_name(device)),
    )
    error = None
    try:
        if stop():
            raise _Stopped
        _train(job, list(trials.values()), recorder=recorder, folder=folder, device=device, stop=stop)
        state = PackState.DONE
    except (_Stopped, KeyboardInterrupt) as request:
        state = PackState.STOPPED
        for trial_id in recorder.open_trials:
            recorder.stopped(trial_id, f"stopped at step {recorder.step}")
        if isinstance(request, KeyboardInterrupt):
            recorder.write_status(state)
            raise
    except Exception as problem:
        state, error = PackState.FAILED, _why(problem, device)
        recorder.say_traceback(problem)
        for trial_id in recorder.open_trials:
            recorder.failed(trial_id, error)
    unsent = logger.close(deadline_s=FLUSH_WHEN_STOPPED_S if state is PackState.STOPPED else FLUSH_S)
    for missing in unsent:
        recorder.say(f"MLflow has not got all of {missing.trial_id}: {missing.reason}")
    recorder.write_status(state, error)
    return PackOutcome(
        pack_id=job.pack_id, state=state, error=error, unsent={missing.trial_id: missing.reason for missing in unsent}
    )


def _train(
    job: PackJob,
    trials: list[TrialConfig],
    *,
    recorder: PackRecorder,
    folder: RunFolder,
    device: torch.device,
    stop: Stop,
) -> None:
    torch.set_num_threads(job.n_threads)
    first = trials[0]
    # Frozen values are hashable; pydantic does not tell the type checker.
    model = held_model(first.model, device, DTYPES[first.train.compute_dtype])  # pyright: ignore[reportArgumentType]
    rows = held_rows(first.data, first.model, model.d_vocab, job.cache)  # pyright: ignore[reportArgumentType]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    pack = Pack(trials, model=model, rows=rows, micro_batch_rows=job.micro_batch_rows)
    started_s = trained_s = time.perf_counter()
    for event in pack.train(log_every_steps=job.log_every_steps, eval_every_tokens=job.eval_every_tokens):
        match event:
            case Stepping():
                is_last = event.step == pack.n_steps
                recorder.at_step(event.step, is_last=is_last)
                if stop() and not is_last:
                    raise _Stopped
            case Trained():
                trained_s = time.perf_counter()
                recorder.curves(event.step, event.tokens, event.metrics)
            case Evaluated():
                by_name = {id_: _named("eval", values) for id_, values in event.metrics.items()}
                recorder.curves(event.step, event.tokens, by_name)
            case Diverged():
                recorder.failed(event.trial_id, f"diverged at step {event.step}: {event.reason}")
                if not recorder.open_trials:
                    return
            case Finished():
                train_wall_s = trained_s - started_s
                for config in trials:
                    if (result := event.results.get(config.trial_id)) is not None:
                        folder.write_sae(config.trial_id, result.sae, config)
                        recorder.done(
                            config.trial_id,
                            facts=_facts(config, model, rows),
                            metrics=result.metrics,
                            cost=_cost(result, train_wall_s),
                            peak_memory_bytes=peak_memory_bytes(device),
                        )


def _logger(folder: RunFolder, job: PackJob) -> TrialLogger:
    """For the MLflow runs that the driver made. One that sends nothing where there are none, or MLflow is of no use."""
    runs = folder.mlflow_runs() if job.tracking else None
    if runs is None:
        return ListLogger()
    try:
        return MlflowLogger(
            worker_address(runs.tracking_uri, environ=os.environ),
            {trial_id: runs.trials[trial_id] for trial_id in job.trial_ids},
        )
    except EnvironmentProblem:
        return ListLogger()


def _named(prefix: str, values: dict[str, float | list[float]]) -> dict[str, float | list[float]]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _facts(config: TrialConfig, model: FrozenModel, rows: Rows) -> Facts:
    return Facts(
        d_model=model.d_model,
        d_sae=config.sae.d_sae(model.d_model),
        n_train_tokens=config.n_steps * config.tokens_per_step,
        n_eval_tokens=len(rows.evaluation) * rows.context,
        data_hash=rows.data_hash,
        eval_hash=rows.eval_hash,
        model_hash=model.content_hash,
    )


def _cost(result: TrialResult, train_wall_s: float) -> dict[str, float]:
    """As the trainer counts it, and under the names of the frontier's columns."""
    cost = dict(result.cost)
    cost["train_wall_s"] = train_wall_s
    cost["device_s"] = cost["train_s"] + cost["evaluation_s"]
    if train_wall_s > 0:
        cost["tokens_per_s"] = cost["n_train_tokens"] / train_wall_s
    return cost


def _why(problem: Exception, device: torch.device) -> str:
    """What went wrong in a line or two; the pack's log has the traceback."""
    if isinstance(problem, BadInput | EnvironmentProblem):
        return str(problem)
    if isinstance(problem, torch.OutOfMemoryError):
        return (
            f"out of memory on {device_name(device)}: {str(problem).splitlines()[0]} "
            "Fewer trials per pack (resources.trials_per_pack) or a smaller train.batch_rows need less"
        )
    if isinstance(problem, MemoryError):
        return "out of memory. Fewer trials per pack (resources.trials_per_pack) need less"
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0]}" if lines else type(problem).__name__
