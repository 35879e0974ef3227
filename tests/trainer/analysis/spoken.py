"""A tokenizer that has whole words, and a random GPT-2 that goes with it, saved to disk as users have them."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from trainer.analysis.agreement_words import BEFORE, NOUNS, OTHERS, PREPOSITIONS, TRANSITIVE, VERBS

WORDS = [
    BEFORE,
    *(f" {word}" for word in OTHERS),
    *(f" {word}" for pairs in (NOUNS[:6], VERBS[:4], TRANSITIVE[:3]) for pair in pairs for word in vars(pair).values()),
    *(f" {word}" for word in PREPOSITIONS[:2]),
]
END = len(WORDS)


def word_tokenizer(words: list[str] = WORDS):
    """One token per word, with the space before it; others are unknown."""
    from transformers import PreTrainedTokenizerFast

    vocab = {word: index for index, word in enumerate(words)} | {"<end>": len(words), "<unk>": len(words) + 1}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(" ?[A-Za-z]+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")


def save_speaker(folder: Path, *, seed: int = 0) -> Path:
    """A GPT-2 of 2 layers with d_model 16, and that tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    word_tokenizer().save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=END + 2, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=END, eos_token_id=END,
        initializer_range=0.3,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder
