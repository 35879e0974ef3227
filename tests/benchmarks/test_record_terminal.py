"""The recording of a terminal: what of it is kept, and that what is drawn is an SVG whatever the terminal shows."""

import xml.etree.ElementTree as ElementTree

from benchmarks.record_terminal import MOST_FRAMES, Cell, Screen, chosen, drawn

SVG = "{http://www.w3.org/2000/svg}"


def screen(*lines: str, fg: str = "default", bold: bool = False) -> Screen:
    return tuple(tuple(Cell(sign, fg, bold) for sign in line.ljust(20)) for line in lines)


def test_pictures_that_repeat_are_left_out_and_first_and_last_stay() -> None:
    a, b = screen("a"), screen("b")
    assert chosen([a, a, b, b, a]) == [a, b, a]
    many = [screen(str(n)) for n in range(500)]
    assert len(chosen(many)) == MOST_FRAMES
    assert (chosen(many)[0], chosen(many)[-1]) == (many[0], many[-1])


def test_a_recording_is_an_svg_with_the_text_of_each_screen() -> None:
    root = ElementTree.fromstring(drawn([screen("one"), screen("<two> & ⣿", "", "red", fg="red", bold=True)]))
    frames = root.findall(f"{SVG}g")
    assert [[text.text for text in frame] for frame in frames] == [["one"], ["<two> & ⣿", "red"]]
    assert [frame.get("visibility") for frame in frames] == ["hidden", None]
    assert "font-weight:bold" in (frames[1][0].get("style") or "")


def test_a_single_screen_does_not_move() -> None:
    assert "@keyframes" not in drawn([screen("one")])
