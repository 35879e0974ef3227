"""Which document a place of the evaluation rows is in, and what that is about."""

import importlib.util

import numpy as np
import pytest
import torch

from trainer.builtin import corpus
from trainer.config import DataConfig, ModelConfig
from trainer.data import RowSet, prepare_rows
from trainer.data.topics import Topics, topics_of
from trainer.models.pieces import Pieces
from trainer.models.tokenizer import load_tokenizer

END = 9


def test_a_place_has_the_topic_of_the_document_it_is_in():
    stored = np.array([[1, 2, END, 3], [3, 3, 3, END], [4, END, 5, 5]])
    topics = Topics(RowSet(stored, np.array([0, 2])), ["Arts", "History", "Technology", "Geography"], end_id=END)
    rows, positions = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 2, 3, 0, 1, 2])
    assert topics.at(rows, positions) == ["Arts", "Arts", "History", "Technology", "Technology", "Geography"]


def test_only_the_built_in_text_has_topics():
    rows = RowSet(np.zeros((2, 4), int), np.arange(2))
    assert topics_of(DataConfig(dataset="a/folder", context=4), rows, end_id=END) is None


@pytest.mark.skipif(importlib.util.find_spec(corpus.PACKAGE) is None, reason="the built-in text is not installed")
@pytest.mark.parametrize("eval_split", ["same", "held_out"])
def test_the_text_of_a_row_of_the_built_in_text_is_in_a_document_of_that_topic(tmp_path, eval_split: str):
    model = ModelConfig(name="builtin")
    data = DataConfig(dataset="builtin", context=64, eval_rows=40, eval_split=eval_split, max_rows=400)
    rows = prepare_rows(data, model=model, d_vocab=4096, cache=tmp_path)
    tokenizer = load_tokenizer(model)
    pieces = Pieces(tokenizer)
    assert pieces.end_id is not None
    topics = topics_of(data, rows.evaluation, end_id=pieces.end_id)
    assert topics is not None
    text_by_topic: dict[str, str] = {}
    for document in corpus.read_documents():
        text_by_topic[document.topic] = text_by_topic.get(document.topic, "") + "\n" + document.text
    n_found = 0
    for row in range(40):
        tokens = rows.evaluation.take(slice(row, row + 1))[0].tolist()
        places = range(10, 20)
        at = topics.at(torch.full((10,), row), torch.tensor([*places]))
        words = "".join(pieces[tokens[position]] for position in places)
        if len({*at}) == 1 and "<|endoftext|>" not in words and "\ufffd" not in words:
            assert words in text_by_topic[at[0]]
            n_found += 1
    assert n_found > 20
