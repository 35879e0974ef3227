"""Every token of every document comes out once, in order, and nothing else does."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.data.conftest import D_VOCAB, END, byte_tokenizer
from trainer.data import stream
from trainer.data.columns import choose_column
from trainer.data.stream import TextEncoder, cut_into_rows, encode_texts, flatten_lists
from trainer.errors import BadInput

CHARACTERS = st.characters(exclude_categories=["Cs"])


def rows_of(batches, *, context=4, d_vocab=D_VOCAB, max_rows=None):
    cut = cut_into_rows(batches, context=context, d_vocab=d_vocab, max_rows=max_rows, where="the test")
    return np.concatenate([np.empty((0, context), int), *(batch.rows for batch in cut)])


@settings(deadline=None)
@given(st.lists(st.lists(st.text(CHARACTERS, max_size=12)), max_size=5), st.integers(2, 9))
def test_rows_are_the_documents_with_an_end_after_each_cut_and_the_rest_dropped(columns, context):
    encoder = TextEncoder(byte_tokenizer())
    arrays = [pa.array(column, pa.string()) for column in columns]
    rows = rows_of(encode_texts(arrays, encoder), context=context)
    tokenizer = byte_tokenizer()
    documents = [document for column in columns for document in column if document.strip()]
    expected = [token for document in documents for token in [*tokenizer(document)["input_ids"], END]]
    assert rows.ravel().tolist() == expected[: len(expected) // context * context]


@settings(deadline=None)
@given(st.lists(st.text(CHARACTERS, min_size=1).filter(str.strip), min_size=1))
def test_text_can_be_read_back_from_the_tokens(documents):
    tokens = TextEncoder(byte_tokenizer()).encode(documents).tokens
    assert byte_tokenizer().decode(tokens) == "".join(f"{document}<end>" for document in documents)


@settings(deadline=None)
@given(st.text("ab\n", min_size=1, max_size=60).filter(str.strip))
def test_a_long_document_is_cut_at_line_ends_only_and_ends_once(document):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "PIECE_CHARACTERS", 5)
        pieces = list(stream.pieces_of(document))
        tokens = TextEncoder(byte_tokenizer()).encode([document]).tokens.tolist()
    assert "".join(pieces) == document
    assert all(piece.endswith("\n") and len(piece) > 5 for piece in pieces[:-1])
    assert tokens == [*byte_tokenizer()(document)["input_ids"], END]


def test_text_is_handed_on_before_all_of_it_is_read(monkeypatch):
    monkeypatch.setattr(stream, "BATCH_CHARACTERS", 3)
    read = []

    def columns():
        for document in ("abc", "def", "ghi"):
            read.append(document)
            yield pa.array([document])

    batches = encode_texts(columns(), TextEncoder(byte_tokenizer()))
    assert next(batches).n_documents == 1
    assert read == ["abc"]


def test_an_encoder_ignores_truncation_and_padding_and_leaves_its_tokenizer_as_it_was():
    plain, cutting = byte_tokenizer(), byte_tokenizer()
    cutting.backend_tokenizer.enable_truncation(2)
    cutting.backend_tokenizer.enable_padding(length=9)
    before = cutting.backend_tokenizer.to_str()
    encoders = TextEncoder(plain), TextEncoder(cutting)
    assert encoders[0].sha256 == encoders[1].sha256
    assert encoders[0].encode(["abcdef"]).tokens.tolist() == encoders[1].encode(["abcdef"]).tokens.tolist()
    assert cutting.backend_tokenizer.to_str() == before


def test_another_vocabulary_is_another_encoder():
    other = byte_tokenizer()
    other.add_tokens(["new"])
    assert TextEncoder(other).sha256 != TextEncoder(byte_tokenizer()).sha256


def test_a_tokenizer_without_end_of_text_is_refused():
    with pytest.raises(BadInput, match="no end-of-text token"):
        TextEncoder(byte_tokenizer(end=None))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=11), max_size=6), st.integers(2, 5))
def test_token_lists_are_laid_end_to_end(lists, context):
    expected = [token for tokens in lists for token in tokens]
    for type_ in (pa.list_(pa.int32()), pa.large_list(pa.uint16())):
        rows = rows_of(flatten_lists([pa.array(lists, type_)]), context=context)
        assert rows.ravel().tolist() == expected[: len(expected) // context * context]


def test_lists_of_a_row_or_of_several_rows_keep_their_borders():
    lists = np.arange(24).reshape(3, 8)
    for width in (8, 4):
        arrays = [pa.array(lists.tolist(), type_) for type_ in (pa.list_(pa.int64()), pa.list_(pa.int64(), 8))]
        for array in arrays:
            assert np.array_equal(rows_of(flatten_lists([array]), context=width), lists.reshape(-1, width))


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 7))
def test_max_rows_caps_and_stops_reading(max_rows, per_batch):
    n_read = 0

    def columns():
        nonlocal n_read
        for start in range(0, 100, per_batch):
            n_read += 1
            yield pa.array([[start + i] * 4 for i in range(per_batch)])

    rows = rows_of(flatten_lists(columns()), max_rows=max_rows)
    assert rows[:, 0].tolist() == list(range(max_rows))
    assert n_read == -(-max_rows // per_batch)


@pytest.mark.parametrize("token", [-1, 10, 2**40])
def test_a_token_that_the_model_does_not_have_is_refused(token):
    with pytest.raises(BadInput, match=rf"token {token}, but the model's tokens are 0 to 9"):
        rows_of(flatten_lists([pa.array([[1, 2], [3, token]])]), d_vocab=10)


def test_an_empty_value_among_tokens_is_refused():
    with pytest.raises(BadInput, match="null"):
        rows_of(flatten_lists([pa.array([[1, None]])]))


TEXT, TOKENS, NUMBER = pa.string(), pa.list_(pa.int32()), pa.int64()


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [
        ({"title": TEXT, "text": TEXT}, "auto", ("text", "text")),
        ({"title": TEXT, "content": TEXT, "n": NUMBER}, "auto", ("content", "text")),
        ({"input_ids": TOKENS, "attention_mask": TOKENS}, "auto", ("input_ids", "tokens")),
        ({"tokens": pa.list_(TEXT), "ids": TOKENS}, "auto", ("ids", "tokens")),
        ({"tokens": TOKENS, "text": TEXT}, "auto", ("text", "text")),
        ({"tokens": TOKENS, "text": TEXT}, "tokens", ("tokens", "tokens")),
        ({"odd": TEXT, "n": NUMBER, "labels": TOKENS}, "auto", ("odd", "text")),
        ({"odd": pa.list_(pa.int16(), 4)}, "auto", ("odd", "tokens")),
    ],
)
def test_a_column_is_found_by_name_and_type(columns, wanted, expected):
    assert choose_column(pa.schema(columns), wanted, where="the test") == expected


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [({"a": TEXT, "b": TEXT}, "auto"), ({"n": NUMBER}, "auto"), ({"text": TEXT}, "txet"), ({"n": NUMBER}, "n")],
)
def test_a_column_that_cannot_be_told_is_refused_with_the_columns_there_are(columns, wanted):
    with pytest.raises(BadInput) as refusal:
        choose_column(pa.schema(columns), wanted, where="the test")
    assert all(f"{name} ({type_})" in str(refusal.value) for name, type_ in columns.items())
