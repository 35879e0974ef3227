"""The text of single tokens, as a person reads them in a line of text: with the space before a word."""

from typing import Any

_ANCHOR = "a"


class Pieces:
    """Token ids to text, each looked up once."""

    def __init__(self, tokenizer: Any | None) -> None:
        """`tokenizer`: a `PreTrainedTokenizerFast`; without one a token is shown by its number, such as `#17`."""
        self._tokenizer = tokenizer
        self.end_id: int | None = None if tokenizer is None else tokenizer.eos_token_id
        """Of the end-of-text token, where there is one."""
        self._known: dict[int, str] = {}
        # Some tokenizers drop the space before the first token of a text, so each is read after another one.
        self._anchor = [] if tokenizer is None else tokenizer.encode(_ANCHOR, add_special_tokens=False)[:1]
        self._before = "" if tokenizer is None else self._decode(self._anchor)

    def __getitem__(self, token: int) -> str:
        """A token that is only a part of a character comes as U+FFFD."""
        if token not in self._known:
            self._known[token] = self._read(token)
        return self._known[token]

    def _read(self, token: int) -> str:
        if self._tokenizer is None:
            return f"#{token}"
        text = self._decode([*self._anchor, token])
        return text.removeprefix(self._before) or f"#{token}"

    def _decode(self, tokens: list[int]) -> str:
        assert self._tokenizer is not None
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))
