"""Moments as every file of a run folder has them: UTC, to the millisecond."""

from datetime import UTC, datetime


def now() -> datetime:
    """The time in UTC, in whole milliseconds, as MLflow keeps it."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def in_ms(time: datetime) -> int:
    """Unix time in milliseconds."""
    return round(time.timestamp() * 1000)
