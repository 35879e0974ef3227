"""Text through an SAE: the hook is where our own model puts the SAE, and the identity writes the same text."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.trainer.analysis.known import identity_sae, random_sae
from trainer.analysis import Continuation, Writer, continuations, load_writer, prompts_of
from trainer.clean import run_above
from trainer.config import ModelConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.models import load_model

VOCAB, CONTEXT, WIDTH = 23, 16, 8
_SHAPE = {
    "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "hidden_size": WIDTH, "num_hidden_layers": 3,
    "num_attention_heads": 2, "intermediate_size": 16, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.5,
}  # fmt: skip
_MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB, n_positions=CONTEXT, n_embd=WIDTH, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0,
            initializer_range=0.5,
        )
    ),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_SHAPE)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SHAPE)),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, make in _MODELS.items():
        torch.manual_seed(0)
        found[name] = tmp_path_factory.mktemp(name)
        make().save_pretrained(found[name])
    return found


@pytest.fixture(scope="module")
def writer(folders: dict[str, Path]) -> Writer:
    return load_writer(ModelConfig(name=str(folders["gpt2"])))


@pytest.fixture(scope="module")
def prompts() -> list[torch.Tensor]:
    tokens = torch.randint(1, VOCAB, (3, 5), generator=torch.Generator().manual_seed(1))
    return [*tokens, tokens[0, :2]]


@pytest.mark.parametrize(
    ("family", "centred"), [("gpt2", False), ("gpt2", True), ("gpt_neox", False), ("llama", False)]
)
def test_the_hook_puts_the_sae_where_our_own_model_has_it(folders: dict[str, Path], family: str, centred: bool) -> None:
    config = ModelConfig(name=str(folders[family]), center_residual=centred)
    ours, sae = load_model(config, dtype=torch.float64), random_sae(layer=1)
    theirs = load_writer(config)
    theirs.module.double()
    tokens = torch.randint(0, VOCAB, (2, 9))
    x = ours.blocks(ours.embed(tokens), 0, 1)
    normed = run_above(ours, sae.decode(sae.encode(x)), layer=1, keep=(), output=True).normed
    assert normed is not None
    clean = theirs.module(tokens).logits
    with theirs.spliced(sae):
        found = theirs.module(tokens).logits
    torch.testing.assert_close(found.log_softmax(-1), ours.unembed(normed).log_softmax(-1), atol=1e-5, rtol=1e-5)
    assert (found - clean).abs().max() > 0.01
    torch.testing.assert_close(theirs.module(tokens).logits, clean)  # the hook is gone


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_identity_writes_the_same_text(writer: Writer, prompts: list[torch.Tensor], temperature: float) -> None:
    sae = identity_sae(dtype=torch.float32)
    alone, through, again = (
        continuations(writer, prompts, sae=one, n_new_tokens=11, temperature=temperature, seed=5)
        for one in (None, sae, None)
    )
    for one, other, repeated in zip(alone, through, again, strict=True):
        assert other.written.equal(one.written)
        assert repeated.written.equal(one.written)
        assert one.n_same(other) == len(one.written)
        assert other.clean_nats_per_token == pytest.approx(one.clean_nats_per_token, abs=1e-4)


def test_another_sae_writes_other_text_that_the_model_finds_less_likely(
    writer: Writer, prompts: list[torch.Tensor]
) -> None:
    random = random_sae()
    sae = type(random)(*(getattr(random, n).float() for n in ("w_enc", "b_enc", "dictionary", "b_dec")), random.config)
    alone, through = (continuations(writer, prompts, sae=one, n_new_tokens=8) for one in (None, sae))
    assert any(not one.written.equal(other.written) for one, other in zip(alone, through, strict=True))
    nats = [sum(one.clean_nats_per_token for one in each) for each in (alone, through)]
    assert nats[1] > nats[0]


def test_greedy_text_is_what_the_most_likely_tokens_give(writer: Writer, prompts: list[torch.Tensor]) -> None:
    (found,) = continuations(writer, prompts[:1], sae=None, n_new_tokens=4)
    tokens = prompts[0]
    for _ in range(len(found.written)):
        tokens = torch.cat([tokens, writer.module(tokens[None]).logits[0, -1].argmax()[None]])
    assert found.written.equal(tokens[len(prompts[0]) :])


def test_randomness_outside_is_left_alone(writer: Writer, prompts: list[torch.Tensor]) -> None:
    before = torch.get_rng_state()
    continuations(writer, prompts[:1], sae=None, n_new_tokens=2, temperature=1.0)
    assert torch.get_rng_state().equal(before)


def test_tokens_before_the_first_other_one_are_counted() -> None:
    one, other, longer = (Continuation(torch.tensor([1]), torch.tensor(t), 0.0) for t in ([4, 5, 6], [4, 7, 6], [4, 5]))
    assert one.n_same(other) == 1
    assert one.n_same(longer) == 2


def test_prompts_are_the_starts_of_rows_all_through_them(rows: Rows) -> None:
    found = prompts_of(rows.evaluation, n_prompts=2, n_tokens=50)
    assert [one.tolist() for one in found] == [rows.evaluation.take(slice(at, at + 1))[0, :3].tolist() for at in (0, 2)]
    assert len(prompts_of(rows.evaluation, n_prompts=9, n_tokens=2)) == 5


def test_what_the_model_cannot_do_is_said(writer: Writer, prompts: list[torch.Tensor]) -> None:
    with pytest.raises(BadInput, match="reads at most 16"):
        continuations(writer, prompts, sae=None, n_new_tokens=12)
    with pytest.raises(BadInput, match="width 5"):
        continuations(writer, prompts, sae=identity_sae(d_model=5), n_new_tokens=2)
    with pytest.raises(BadInput, match="layers 0 to 2"):
        continuations(writer, prompts, sae=identity_sae(layer=3), n_new_tokens=2)
