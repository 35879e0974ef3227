"""Text from files, errors and names, made safe for a terminal. Knows characters, nothing of sweeps."""

import re

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and those that turn the direction of writing."""


def plain(text: str) -> str:
    """The text with a visible stand-in for each character that a terminal would obey: colours, titles, moves."""
    return _UNSAFE.sub(_shown, text)


def plain_json(text: str) -> str:
    """JSON with what `json.dumps(ensure_ascii=False)` leaves of such characters escaped: still the same JSON."""
    return _UNSAFE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)  # its picture, such as ␛
    return "␡" if code == 0x7F else "\N{REPLACEMENT CHARACTER}"
