"""The report: the page, its libraries and a sweep's data in one HTML file that opens from disk and asks nobody.

It is the page of `static/` with everything inside it. Data are in it as text that no browser runs. A large sweep's
curves and elements are left out from the least interesting trials on, and the report says so: see `Limits`.
"""

import base64
import hashlib
import html
import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from dashboards import detail, trial
from dashboards.reading import Fields
from dashboards.runs import line_of

STATIC = Path(__file__).with_name("static")
_LINK = re.compile(r"""<link\b(?=[^>]*\brel=["']?stylesheet)[^>]*\bhref=["']?/?static/([\w./-]+)["']?[^>]*>""")
_SCRIPT = re.compile(r"""<script\b[^>]*\bsrc=["']?/?static/([\w./-]+)["']?[^>]*>\s*</script>\s*""")


class Limits(NamedTuple):
    """How much a report may hold."""

    n_points: int = 120
    """Of a curve: the lowest and the highest of each stretch, first and last."""
    n_bytes: int = 12_000_000
    """Of data, as text, at most half of it for trials with elements, most of the rest for trials with curves. Trials on
    a frontier come first, then those that are done, then the others."""


def write_report(folder: Path, *, ended_as: str = "") -> Path:
    """`report.html` of a run folder, which appears whole. `ended_as` as in `standing`."""
    path = folder / "report.html"
    beside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        beside.write_bytes(report_of(folder, ended_as=ended_as).encode())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    return path


def report_of(folder: Path, *, ended_as: str = "", limits: Limits | None = None) -> str:
    """The report as text. `ended_as` as in `standing`."""
    folder = folder.absolute()
    shown_as = Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    line = line_of(folder, ended_as=ended_as)
    whole = detail.detail(folder, shown_as=shown_as, ended_as=ended_as) | {"downloads": []}
    trials, notes = _trials(folder, whole, shown_as, limits or Limits())
    rest: Fields = {
        "mode": "report",
        "style": json.loads(Path(__file__).with_name("style.json").read_text("utf-8")),
        "sweeps": {"sweeps": [line], "read_at": line["updated_at"]},
        "details": {folder.name: whole},
        "notes": notes,
    }
    data = f'{data_text(rest)[:-1]},"trials":{{{data_text(folder.name)}:{{{",".join(trials)}}}}}}}'
    return inlined((STATIC / "page.html").read_text("utf-8"), data, title=f"{line['name']}: frontiers")


def inlined(page: str, data: str, *, title: str) -> str:
    """A page with its style sheets, scripts and data inside it, and a policy under which it can load nothing else.

    `data` as `data_text` gives it.
    """
    styles = [_read(name).replace("</", "<\\/") for name in _LINK.findall(page)]
    scripts = [script_text(_read(name)) for name in _SCRIPT.findall(page)]
    sheets, page = iter(styles), _SCRIPT.sub("", page)
    page = _LINK.sub(lambda _: f"<style>{next(sheets)}</style>", page)
    page = re.sub(
        r"<title>.*?</title>", lambda _: f"<title>{html.escape(title)}</title>", page, count=1, flags=re.DOTALL
    )
    policy = f'<meta http-equiv="Content-Security-Policy" content="{policy_of(scripts, styles)}">'
    page = re.sub(r"(<head\b[^>]*>)", lambda found: found[1] + '\n<meta charset="utf-8">\n' + policy, page, count=1)
    tail = [f'<script type="application/json" id="data">{data}</script>']
    tail += [f"<script>{text}</script>" for text in scripts]
    before, body_end, after = page.rpartition("</body>")
    return "\n".join([before or after, *tail, body_end + after if before else ""])


def data_text(data: Any) -> str:
    """JSON that cannot end its element or begin another, and is ASCII."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def script_text(source: str) -> str:
    """A script that means the same, and that HTML does not take for the end of its element or for a comment."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", source, flags=re.IGNORECASE)


def policy_of(scripts: list[str], styles: list[str]) -> str:
    """Only these very scripts and styles, and no request to anybody."""
    allowed = {"script-src": scripts, "style-src": styles}
    words = [" ".join([what, *([_hash(text) for text in texts] or ["'none'"])]) for what, texts in allowed.items()]
    return "; ".join(["default-src 'none'", *words, "img-src data: blob:", "base-uri 'none'", "form-action 'none'"])


def _trials(folder: Path, whole: Fields, shown_as: Path, limits: Limits) -> tuple[list[str], list[str]]:
    """Trials as text, most interesting first, as much of each as there is room for; and what had to be left out."""
    sweep = trial.sweep_of(folder)
    found: list[str] = []
    left = limits.n_bytes - len(json.dumps(whole))
    left_out = {"elements": 0, "curves": 0, "all": 0}
    was_thinned = False
    ids = _ranked(whole)
    for trial_id in ids:
        try:
            one = trial.trial(folder, trial_id, sweep=sweep, shown_as=shown_as, most_points=limits.n_points)
        except LookupError:
            continue
        for part in ("", "elements", "curves"):
            if part:
                left_out[part] += bool(one[part])
                one |= {part: None if part == "elements" else {}}
            text = f'"{trial_id}":{data_text(one)}'
            if len(text) <= left - limits.n_bytes * _kept_free(one):
                found.append(text)
                left -= len(text)
                was_thinned |= bool(one["thinned"] and one["curves"])
                break
        else:
            left_out["all"] = len(ids) - len(found)
            break
    return found, _notes(left_out, len(ids), limits, was_thinned=was_thinned)


def _kept_free(one: Fields) -> float:
    """The share of a report that a trial leaves to those after it: many with little tell more than few with all."""
    if one["elements"]:
        return 0.5
    return 0.15 if one["curves"] else 0.0


def _notes(left_out: Mapping[str, int], n_trials: int, limits: Limits, *, was_thinned: bool) -> list[str]:
    told = [f"Curves are drawn from at most {limits.n_points} of their points, peaks included."] if was_thinned else []
    what = {"elements": "dictionary elements", "curves": "curves", "all": "pages of their own"}
    for part, name in what.items():
        if left_out[part]:
            told.append(
                f"To keep this file small, {left_out[part]:,} of {n_trials:,} trials are without {name} here; "
                "python -m orchestrator dashboard shows all."
            )
    return told


def _ranked(whole: Fields) -> list[str]:
    """Ids of all trials: of those on frontiers first, then of those that are done, then of the others."""
    rows = whole["rows"]
    flags = [name for name in (rows[0] if rows else {}) if name.startswith(("on_front_", "on_joint_front_"))]
    ids = [row["trial_id"] for row in sorted(rows, key=lambda row: -sum(bool(row[flag]) for flag in flags))]
    return list(dict.fromkeys([*ids, *(one["trial_id"] for one in whole["trials"])]))


def _read(name: str) -> str:
    path = STATIC.parent / name if name == "style.json" else STATIC / name
    # As HTML's parser has it, so that the hash is of what the browser sees.
    return path.read_text("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
