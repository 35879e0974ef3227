"""At which layers the paper's findings hold."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dashboards import canvas
from dashboards.paper.drawing import Tables, Text
from dashboards.paper.parts import layers_in, panels

TEXT = Text(
    how_to_read=(
        "Each finding of the paper is looked for by a rule, at every layer that was trained. Verdicts are about "
        "direction: how large an effect is, the numbers say. A number does not decide where its 95 % interval leaves "
        "open on which side of the limit it lies; one without an interval, as over fewer than three seeds, decides by "
        "itself."
    ),
    paper_found="Every line is a finding of Braun et al. 2024 on GPT2-small, with its numbers there.",
    captions={
        "findings": "The findings by layer. Filled: every number at that layer agrees; half: some do; open: none does; "
        "a dash: none decides.",
    },
)
_HOLDS, _NOT, _OPEN = "#0072B2", "#D55E00", "#777777"
_LABEL_INCHES, _ROW_INCHES, _COLUMN_INCHES = 2.7, 0.24, 0.42
_MARKS: dict[str, dict[str, Any]] = {
    "holds": {"marker": "o", "color": _HOLDS, "markersize": 7},
    "some": {"marker": "o", "color": _HOLDS, "markersize": 7, "fillstyle": "left", "markerfacecoloralt": "white"},
    "not": {"marker": "o", "color": _NOT, "markersize": 7, "fillstyle": "none", "markeredgewidth": 1.4},
    "open": {"marker": "_", "color": _OPEN, "markersize": 7, "markeredgewidth": 1.4},
}
"""By what the readings at a layer say. The shape doubles the colour."""
_WORDS = {"holds": "holds", "some": "in part", "not": "does not", "open": "does not decide"}


def figures(tables: Tables) -> dict[str, Figure]:
    """`findings`: a row per finding, a column per layer."""
    readings = tables["findings_readings"]
    names = [line["finding"] for line in tables["findings"]]
    names = [name for name in names if any(line["finding"] == name for line in readings)]
    layers = layers_in(readings)
    if not names:
        return {}
    with canvas.look():
        width = _LABEL_INCHES + _COLUMN_INCHES * max(len(layers), 4)
        figure, grid = panels(1, 1, width=width, height=_ROW_INCHES * len(names) + 0.3)
        axes = grid[0][0]
        for row, name in enumerate(names):
            for column, layer in enumerate(layers):
                answers = [one["holds"] for one in readings if one["finding"] == name and one["layer"] == layer]
                if answers:
                    axes.plot([column], [row], linestyle="", **_MARKS[_state(answers)])
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_xlim(-0.5, len(layers) - 0.5)
        axes.set_xlabel("layer")
        axes.grid(visible=False)
        handles = [Line2D([], [], linestyle="", **mark, label=_WORDS[state]) for state, mark in _MARKS.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return {"findings": figure}


def _state(answers: Sequence[bool | None]) -> str:
    decided = [one for one in answers if one is not None]
    if not decided:
        return "open"
    return "holds" if all(decided) else "some" if any(decided) else "not"
