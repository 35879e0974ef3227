"""What is asked about elements, and that every answer is either read rightly or not at all."""

import json

import pytest

from orchestrator.paper.questions import (
    LONGEST,
    Passage,
    detect,
    explain,
    read_detection,
    read_explanation,
    read_simulation,
    simulate,
)

PASSAGE = Passage((" the", " red", "\n", " car"), (0.0, 2.0, 0.0, 0.1))


def user(messages: list) -> str:
    return str(messages[1]["content"])


def test_the_explainer_sees_where_and_how_much_it_fires() -> None:
    assert user(explain([PASSAGE, PASSAGE], largest=4.0)).splitlines() == [
        "1. the<< red>>[5]\\n<< car>>[1]",
        "2. the<< red>>[5]\\n<< car>>[1]",
    ]


def test_the_detector_sees_plain_text_and_no_activation() -> None:
    text = user(detect("colours", [PASSAGE, PASSAGE]))
    assert text.splitlines() == ["Explanation: colours", "", "1. the red\\n car", "2. the red\\n car"]


def test_the_simulator_sees_tokens_and_no_activation() -> None:
    lines = user(simulate("colours", [PASSAGE])).splitlines()
    assert json.loads(lines[-1].partition(". ")[2]) == list(PASSAGE.tokens)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Explanation: words for colours.", "words for colours."),
        ("Let me think.\nIt is red.\n\nExplanation:  words\nfor colours", "words for colours"),
        ('"words for colours"', "words for colours"),
        ("x" * 1000, "x" * LONGEST),
        ("Explanation: red \x1b[31m", "red \u241b[31m"),
        ("", None), ("Explanation: ", None), (" \n ", None),
    ],
)  # fmt: skip
def test_explanations_are_read(answer: str, found: str | None) -> None:
    assert read_explanation(answer) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("[2, 5]", {1, 4}), ("[]", set()), ("```json\n[1]\n```", {0}), ("Passage [3] fits, so:\n[1, 2]", {0, 1}),
        ("[1, 1]", {0}), ("[0]", None), ("[7]", None), ("[true]", None), ("['a']", None), ("none", None), ("", None),
        ("[1, 2", None), ("[[1]]", None), ("[1.5]", None), ("[" * 10_000, None),
    ],
)  # fmt: skip
def test_lists_of_passages_are_read_or_refused(answer: str, found: set[int] | None) -> None:
    assert read_detection(answer, 6) == found


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("[[0, 10], [3]]", [0, 10, 3]), ("Sure: [[0, 1.5], [3]] as asked", [0, 1.5, 3]), ("[[0, 1]]", None),
        ("[[0, 1, 2], [3]]", None), ("[[0, 11], [3]]", None), ("[[0, -1], [3]]", None), ("[[0, null], [3]]", None),
        ("[[0, NaN], [3]]", None), ("[0, 1]", None), ("{}", None),
    ],
)  # fmt: skip
def test_simulations_are_read_or_refused(answer: str, found: list[float] | None) -> None:
    assert read_simulation(answer, [2, 1]) == found
