"""Tables as LaTeX, with booktabs rules: `\\input` them. Every text is escaped."""

from dashboards.paper.cells import Print

LONG = 45
"""From this many rows on a table is a longtable, which may break across pages."""
_LETTERS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "\n": " ", "\r": " ", "\t": " ",
}  # fmt: skip


def latex(table: Print) -> str:
    """A `table`, or a `longtable` where it is long. Needs the packages booktabs and longtable."""
    columns = "".join("r" if number else "l" for number in table.is_number)
    head = _row(table.heads)
    body = [_row(row) for row in table.rows]
    caption = rf"\caption{{{escaped(table.title)}}}"
    label = rf"\label{{tab:{''.join(letter if letter.isalnum() else '-' for letter in table.label)}}}"
    if len(table.rows) >= LONG:
        lines = [rf"\begin{{longtable}}{{{columns}}}", caption + label + r" \\", r"\toprule", head, r"\midrule",
                 r"\endfirsthead", r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endlastfoot", *body,
                 r"\end{longtable}"]  # fmt: skip
    else:
        lines = [r"\begin{table}", r"\centering", caption, label, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head,
                 r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]  # fmt: skip
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LETTERS.get(letter, letter) for letter in text)


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"
