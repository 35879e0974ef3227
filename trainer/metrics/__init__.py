"""Metrics: one file per group. Sums over batches, divided once at the end; pure tensors until then."""

from trainer.metrics import output, reconstruction, sparsity
from trainer.metrics.metric import EvalBatch, Metric, Sums

EVAL_METRICS: tuple[Metric, ...] = (*sparsity.METRICS, *output.METRICS, *reconstruction.METRICS)
"""Measured over the evaluation rows."""
WINDOW_METRICS: tuple[Metric, ...] = sparsity.WINDOW_METRICS
"""Measured over the alive window of training rows."""
METRICS: tuple[Metric, ...] = (*EVAL_METRICS, *WINDOW_METRICS)


def batch_sums(batch: EvalBatch) -> Sums:
    """Everything that is summed over evaluation batches."""
    return {**sparsity.sums(batch), **output.sums(batch), **reconstruction.sums(batch)}


def add(total: Sums | None, part: Sums) -> Sums:
    return part if total is None else {name: total[name] + part[name] for name in total}


def finish(metrics: tuple[Metric, ...], sums: Sums) -> list[dict[str, float | list[float]]]:
    """The value of each metric, one dict by column per SAE. `metrics` is `EVAL_METRICS` or `WINDOW_METRICS`."""
    columns = {metric.column: metric.finish(sums).double().tolist() for metric in metrics}
    n_saes = len(next(iter(columns.values())))
    return [{column: values[i] for column, values in columns.items()} for i in range(n_saes)]


__all__ = ["EVAL_METRICS", "METRICS", "WINDOW_METRICS", "EvalBatch", "Metric", "Sums", "add", "batch_sums", "finish"]
