"""`paper.html` and LaTeX of the paper's analyses: safe, self-contained, and the same for the same values."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from dashboards.paper.cells import Print, cell
from dashboards.paper.latex import LONG, escaped, latex
from dashboards.paper.page import EXCERPT, Page, Picture, Section, Table, page_text

EVIL = '</title><script>alert(1)</script><img src=x onerror="a" \'&amp;'
PNG = b"\x89PNG\r\n\x1a\n"


def table(n_rows: int = 2, text: str = "L1-local") -> Print:
    return Print(f"Title {text}", (text, "l0"), (False, True), ((text, "1.5"),) * n_rows, label="a_b")


def page(text: str = "plain", n_rows: int = 2) -> str:
    section = Section(
        id="norms", title=f"Norms {text}", paper=[text], how_to_read=text, paper_found=text,
        pictures=[Picture("norms", f"Caption {text}", PNG)], tables=[Table(table(n_rows, text), "n.parquet", n_rows)],
        problems=[text],
    )  # fmt: skip
    return page_text(Page(f"run {text}", [(text, text)], [section]))


class Seen(HTMLParser):
    """Elements and text, and that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_text_becomes_an_element() -> None:
    plain, evil = Seen(page()), Seen(page(EVIL))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert "script" not in {tag for tag, _ in evil.tags}
    assert not any(name.startswith("on") for _, attributes in evil.tags for name in attributes)
    assert evil.text.count(EVIL) >= 6


def test_the_page_can_load_nothing_and_says_so() -> None:
    seen = Seen(page(EVIL))
    [policy] = [attributes["content"] for tag, attributes in seen.tags if "http-equiv" in attributes]
    assert str(policy).startswith("default-src 'none'; script-src 'none'; style-src 'sha256-")
    sources = [value for _, attributes in seen.tags for name, value in attributes.items() if name in ("src", "href")]
    assert sources
    assert all(str(source).startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "url(" not in page()
    assert "@import" not in page()


def test_every_picture_says_what_it_shows_and_every_table_can_be_reached() -> None:
    seen = Seen(page())
    assert [attributes["alt"] for tag, attributes in seen.tags if tag == "img"] == ["Caption plain"]
    assert all(attributes.get("scope") == "col" for tag, attributes in seen.tags if tag == "th")
    assert [attributes["tabindex"] for _, attributes in seen.tags if attributes.get("role") == "region"] == ["0"]


def test_a_long_table_is_shown_in_part_and_the_page_says_of_what() -> None:
    seen = Seen(page(n_rows=100))
    assert [tag for tag, _ in seen.tags].count("tr") == 1 + EXCERPT
    assert f"{EXCERPT} of 100 lines of n.parquet" in seen.text


def test_latex_prints_every_text_as_it_is() -> None:
    assert escaped(r"a_b & 50% of $x {y} #1 ~ ^ \ <>") == (
        r"a\_b \& 50\% of \$x \{y\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{}\textgreater{}"
    )
    text = latex(table(text="L1_local & 5%"))
    assert r"L1\_local \& 5\% & 1.5 \\" in text
    assert r"\begin{tabular}{lr}" in text
    assert r"\label{tab:a-b}" in text


@pytest.mark.parametrize(("n_rows", "kind"), [(LONG - 1, "tabular"), (LONG, "longtable")])
def test_a_long_latex_table_may_break_across_pages(n_rows: int, kind: str) -> None:
    text = latex(table(n_rows))
    assert re.findall(r"\\begin\{(\w+)\}\{lr\}", text) == [kind]
    assert len(re.findall(r"\\begin", text)) == len(re.findall(r"\\end\{", text))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (3, "3"), (12345, "12 345"), (0.0, "0"), (0.12345, "0.1235"), (-1.5, "-1.500"),
     (69.44, "69.44"), (12345.6, "12 346"), (1.23e-5, "1.23e-05"), (3e7, "3.00e+07"), ("a", "a"),
     ([1.0, 2.0], "1.000, 2.000")],
)  # fmt: skip
def test_numbers_are_printed_with_the_digits_that_count(value: Any, text: str) -> None:
    assert cell(value) == text


def test_pictures_are_as_wide_as_they_were_drawn() -> None:
    """Else letters of narrow figures are larger than those of wide ones."""

    def width(n_pixels: int) -> int:
        png = b"\x89PNG\r\n\x1a\n" + bytes(8) + n_pixels.to_bytes(4, "big") + bytes(4)
        section = Section("norms", "Norms", [], "", "", [Picture("norms", "Caption", png)], [], [])
        [image] = [attributes for tag, attributes in Seen(page_text(Page("", [], [section]))).tags if tag == "img"]
        return int(image["width"] or 0)

    assert width(1700) == pytest.approx(2 * width(850), abs=1)
    assert 900 < width(1700) < 992
