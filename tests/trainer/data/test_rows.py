"""The order of rows is a pure function of the seed and the step."""

from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data import Rows, rows_in_memory
from trainer.errors import BadInput


def numbered(n_train: int, n_eval: int = 1, *, seed: int = 0) -> Rows:
    """Rows whose tokens are their own number, evaluation rows following on."""
    tokens = torch.arange(n_train + n_eval)[:, None].expand(-1, 3)
    return Rows.from_tokens(tokens[:n_train], tokens[n_train:], seed)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 50), st.integers(0, 2**40))
def test_a_batch_depends_on_seed_and_step_alone(n_train, batch_rows, step, seed):
    batch_rows = min(batch_rows, n_train)
    asked_at_once = numbered(n_train, seed=seed).train_batch(step, batch_rows)
    walked = numbered(n_train, seed=seed)
    batches = [walked.train_batch(s, batch_rows) for s in range(step + 1)]
    assert torch.equal(batches[-1], asked_at_once)
    assert torch.equal(torch.cat(batches), walked.train_rows(0, (step + 1) * batch_rows))


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**40), st.integers(0, 5))
def test_every_epoch_holds_every_training_row_once(n_train, seed, epoch):
    rows = numbered(n_train, seed=seed).train_rows(epoch * n_train, (epoch + 1) * n_train)
    assert sorted(rows[:, 0].tolist()) == list(range(n_train))


def test_epochs_and_seeds_differ_in_order():
    rows, other = numbered(50), numbered(50, seed=1)
    first, second = rows.train_rows(0, 50), rows.train_rows(50, 100)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other.train_rows(0, 50))
    assert not torch.equal(second, other.train_rows(0, 50))


def test_the_order_is_numpys_permutation_of_seed_and_epoch():
    order = np.random.Generator(np.random.PCG64([7, 2])).permutation(20)
    assert numbered(20, seed=7).train_rows(40, 60)[:, 0].tolist() == order.tolist()


def test_evaluation_batches_hold_each_row_once_in_order_whatever_their_size():
    rows = numbered(1, n_eval=7)
    for batch_rows in (1, 3, 7, 100):
        assert torch.cat(list(rows.eval_batches(batch_rows)))[:, 0].tolist() == list(range(1, 8))


def test_rows_in_memory_are_a_function_of_their_seed():
    first, again, other = (rows_in_memory(n_train=9, n_eval=2, context=4, d_vocab=99, seed=seed) for seed in (3, 3, 4))
    assert first.train_rows(0, 9).shape == (9, 4)
    assert first.evaluation.take(slice(None)).shape == (2, 4)
    assert torch.equal(first.train_batch(5, 4), again.train_batch(5, 4))
    assert first.data_hash == again.data_hash != other.data_hash


def test_hashes_are_of_the_tokens_and_tell_sets_and_orders_apart():
    tokens = torch.tensor([[1, 2, 3], [70000, 5, 6]])
    rows = Rows.from_tokens(tokens, tokens.flip(0), seed=0)
    assert rows.data_hash == sha256(tokens.numpy().astype("<u4").tobytes()).hexdigest()
    assert rows.eval_hash == sha256(tokens.flip(0).numpy().astype("<u4").tobytes()).hexdigest()
    assert Rows.from_tokens(tokens, tokens, seed=9).data_hash == rows.data_hash


def test_a_batch_of_more_rows_than_there_are_is_refused():
    with pytest.raises(BadInput, match="batch_rows=4, but there are 3"):
        numbered(3).train_batch(0, 4)


def test_rows_without_training_or_evaluation_rows_are_refused():
    some, none = torch.zeros(2, 3, dtype=torch.long), torch.zeros(0, 3, dtype=torch.long)
    for train, evaluation in ((some, none), (none, some)):
        with pytest.raises(BadInput, match="at least one of each"):
            Rows.from_tokens(train, evaluation, 0)
