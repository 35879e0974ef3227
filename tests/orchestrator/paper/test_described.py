"""docs/paper.md says of every analysis, option, table and column what is so; and the parts of analyses fit together."""

from collections import Counter

import pytest

from dashboards.paper.registry import drawings
from orchestrator.paper.analysis import Analysis
from orchestrator.paper.described import DOCUMENT, with_tables
from orchestrator.paper.registry import analyses
from orchestrator.paper.selection import FRONT, MATCHED

ANALYSES = analyses()


def test_the_document_is_what_the_analyses_say() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert text == with_tables(text, ANALYSES), "run python -m orchestrator.paper.described"


def test_every_choice_of_saes_is_documented() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert all(f"| `{name}` |" in text for name in (*MATCHED, FRONT))


def test_no_two_analyses_share_an_id_or_a_table() -> None:
    names = Counter([analysis.id for analysis in ANALYSES])
    tables = Counter(spec.name for analysis in ANALYSES for spec in analysis.tables)
    assert [name for name, n in (names + tables).items() if n > 2 or names[name] > 1 or tables[name] > 1] == []


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda analysis: analysis.id)
def test_an_analysis_has_its_figures_words_and_columns_with_a_meaning(analysis: Analysis) -> None:
    text = drawings()[analysis.id].TEXT
    assert text.how_to_read.endswith(".")
    assert text.paper_found.endswith((".", ")"))
    assert analysis.paper
    for spec in analysis.tables:
        assert spec.name.startswith(analysis.id)
        columns = [column.name for column in spec.columns]
        assert len(columns) == len(set(columns))
        assert {*(spec.printed or ())} <= {*columns}
        assert all(column.description.endswith((".", ")")) for column in spec.columns)
