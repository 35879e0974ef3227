"""Single tokens as text: they join to the text they came from."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trainer.config import ModelConfig
from trainer.models.pieces import Pieces
from trainer.models.tokenizer import load_tokenizer


def test_pieces_of_the_built_in_tokenizer_join_to_the_text():
    tokenizer = load_tokenizer(ModelConfig(name="builtin"))
    pieces = Pieces(tokenizer)
    text = " The lake is in Norway (1893), and it's deep;  two spaces, a line\nend."
    assert "".join(pieces[token] for token in tokenizer.encode(text, add_special_tokens=False)) == text
    assert pieces[tokenizer.eos_token_id] == "<|endoftext|>"


def test_a_tokenizer_that_drops_the_first_space_keeps_it_here(tmp_path: Path):
    """As those made with SentencePiece do."""
    words = ["<unk>", "a", "▁deep", "▁lake", "s", "</s>"]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    assert not str(tokenizer.decode([2])).startswith(" ")
    pieces = Pieces(tokenizer)
    assert [pieces[token] for token in (2, 3, 4)] == [" deep", " lake", "s"]


def test_without_a_tokenizer_a_token_is_its_number():
    pieces = Pieces(None)
    assert (pieces[17], pieces.end_id) == ("#17", None)
