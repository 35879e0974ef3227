"""How layers, times and sizes are said to people, in plans and on screens alike."""

from collections.abc import Iterable


def spans(numbers: Iterable[int]) -> str:
    """0, 1, 2, 5 as `0-2,5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def duration_text(seconds: float) -> str:
    """`42 s`, `3:07 min`, `2:05 h`, `4 days`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h" if whole < 48 * 3600 else f"{whole / 86400:.0f} days"


def bytes_text(n_bytes: float) -> str:
    """`812 MB`, `1.2 GB`."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
