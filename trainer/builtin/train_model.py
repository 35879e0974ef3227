"""How the built-in language model was made: `python -m trainer.builtin.train_model --gensim-wheel WHEEL --to DIR`.

Trains a byte-level BPE and a GPT-2 of 1.75 million parameters on encyclopedic English, on one thread in about 70
minutes of its time, and writes `config.json`, `model.safetensors` (fp16), `tokenizer.json` and `MODEL_CARD.md`.

Text: the built-in corpus without its 300 held-out documents (80 % of each batch) and the Wikipedia sample inside
gensim's wheel (20 %; `pip download --no-deps gensim==4.4.0` fetches it; it is read, never installed), from which
articles with a held-out document's title are dropped. Matrices inside the blocks are trained by Muon, the rest by
AdamW.
"""

import argparse
import bz2
import hashlib
import io
import json
import math
import random
import re
import time
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from trainer.builtin.corpus import REQUIREMENT, Document, corpus_file, normalise, read_documents, split_held_out

END_OF_TEXT = "<|endoftext|>"
VOCAB_SIZE = 4096
CONTEXT = 256
CORPUS_SHARE = 0.8
WEIGHT_DECAY = 0.1
GENSIM_MEMBER = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"


def model_config(*, dropout: float = 0.0) -> GPT2Config:
    """Six blocks of width 128; token 0 ends a text."""
    return GPT2Config(
        vocab_size=VOCAB_SIZE, n_positions=CONTEXT, n_embd=128, n_layer=6, n_head=4, bos_token_id=0, eos_token_id=0,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=0.0,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------- text


def clean_wikitext(text: str) -> str:
    """Running prose of one article: templates, tables, references, links' targets, headings and lists removed."""
    text = re.sub(r"<!--.*?-->|<ref[^>/]*/>|<ref.*?</ref>|<math.*?</math>|<gallery.*?</gallery>", "", text, flags=re.S)
    for _ in range(6):  # templates and tables nest; each pass removes the innermost
        text = re.sub(r"\{\{[^{}]*\}\}|\{\|[^{}]*?\|\}", "", text)
    text = re.sub(r"\[\[(?:File|Image|Category)[^\[\]]*(?:\[\[[^\[\]]*\]\][^\[\]]*)*\]\]", "", text)
    text = re.sub(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]", r"\1", text)
    text = re.sub(r"\[https?://\S+ ?([^\]]*)\]", r"\1", text)
    text = re.sub(r"<[^>]+>|'{2,}|&nbsp;", " ", text)
    lines = [line for line in text.splitlines() if line.strip() and line[0] not in "=*#:;|!{}[ "]
    return " ".join(normalise(line) for line in lines if line.rstrip().endswith((".", '."', "!", "?")))


def gensim_documents(wheel: Path, *, without_titles: set[str]) -> list[str]:
    """Articles of the Wikipedia sample in gensim's wheel, except redirects, stubs and `without_titles`."""
    raw = bz2.decompress(zipfile.ZipFile(wheel).read(GENSIM_MEMBER))
    texts: list[str] = []
    title = ""
    try:
        for _, element in ElementTree.iterparse(io.BytesIO(raw)):
            tag = element.tag.rpartition("}")[2]
            if tag == "title":
                title = element.text or ""
            elif tag == "text" and element.text and not element.text.lstrip().upper().startswith("#REDIRECT"):
                text = clean_wikitext(element.text)
                if len(text) > 500 and title not in without_titles:
                    texts.append(text)
    except ElementTree.ParseError:
        pass  # the sample is a dump cut short: its last page has no end
    return texts


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE of `VOCAB_SIZE` tokens, with the end-of-text token as number 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def rows_for_ever(documents: list[np.ndarray], *, seed: int) -> Iterator[np.ndarray]:
    """Rows of `CONTEXT` tokens; documents in a new order each time round, an end-of-text token after each."""
    order = random.Random(seed)
    left = np.empty(0, dtype=np.int64)
    while True:
        shuffled = list(documents)
        order.shuffle(shuffled)
        stream = np.concatenate([left, *shuffled])
        n_rows = len(stream) // CONTEXT
        yield from stream[: n_rows * CONTEXT].reshape(n_rows, CONTEXT)
        left = stream[n_rows * CONTEXT :]


# ------------------------------------------------------------------------------------------------------ training


def next_token_loss(model: GPT2LMHeadModel, tokens: Tensor) -> Tensor:
    """Mean nats per predicted token."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.transformer(tokens, use_cache=False).last_hidden_state[:, :-1]
        logits = functional.linear(hidden, model.lm_head.weight)
    return functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: GPT2LMHeadModel, rows: Tensor) -> float:
    """Nats per token in float32 over packed held-out rows."""
    model.eval()
    total, count = 0.0, 0
    for batch in rows.split(16):
        logits = model(batch).logits[:, :-1]
        total += functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum").item()
        count += batch[:, 1:].numel()
    model.train()
    return total / count


def learning_rate_factor(step: int, *, n_steps: int) -> float:
    """Warm-up over 100 steps, constant for half of training, then linear to nothing."""
    return min(1.0, (step + 1) / 100, 2 * (1 - step / n_steps))


def train(
    model: GPT2LMHeadModel,
    sources: list[tuple[Iterator[np.ndarray], int]],
    held_out: Tensor,
    *,
    n_steps: int,
    learning_rate: float,
) -> None:
    """Train in place; prints the losses every 100 steps."""
    matrices = [p for name, p in model.named_parameters() if ".h." in name and p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    optimizers = [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=learning_rate, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.95), fused=True),
    ]
    start = time.process_time()
    running = 0.0
    for step in range(n_steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * learning_rate_factor(step, n_steps=n_steps)
        batch = np.stack([next(rows) for rows, n_rows in sources for _ in range(n_rows)])
        loss = next_token_loss(model, torch.from_numpy(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        running += loss.item()
        if (step + 1) % 100 == 0:
            held = f"{held_out_loss(model, held_out):.4f}" if (step + 1) % 500 == 0 else "-"
            print(f"step {step + 1}/{n_steps}  train {running / 100:.4f}  held-out {held}  "
                  f"cpu {time.process_time() - start:.0f} s", flush=True)  # fmt: skip
            running = 0.0


# ---------------------------------------------------------------------------------------------------------- files


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_card(facts: dict[str, object], card_facts: str) -> str:
    return f"""# Model card: the built-in language model

A GPT-2 of {facts["n_parameters"]:,} parameters (6 blocks, width 128, 4 heads, context {CONTEXT}) with its own
byte-level BPE of {VOCAB_SIZE} tokens, made so that a first sweep needs no download. It writes grammatical
encyclopedic English and knows no facts. Use it to try the tool and to compare training methods, not for its text.

**Held-out loss: {facts["held_out_nats_per_token"]:.4f} nats per token**
({facts["held_out_bits_per_byte"]:.4f} bits per byte) on the {facts["n_held_out_documents"]} documents of the corpus
that it never saw (weights as shipped, computed in float32).

Made by `python -m trainer.builtin.train_model`. Text: lead sections of English Wikipedia articles as packaged in
`{REQUIREMENT}`, and the Wikipedia sample in gensim 4.4.0's test data. Wikipedia text is by its contributors, under
CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/). The weights and the tokenizer were trained by this
project; none of the text is in this repository.

```json
{card_facts}
```
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gensim-wheel", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="folder for the four files")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-rows", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=8e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    training, held_out = split_held_out(read_documents())
    sample = gensim_documents(args.gensim_wheel, without_titles={document.title for document in held_out})
    tokenizer = train_tokenizer([document.text for document in training] + sample)

    def encode(texts: list[str]) -> list[np.ndarray]:
        end = tokenizer.token_to_id(END_OF_TEXT)
        return [np.array([*encoding.ids, end]) for encoding in tokenizer.encode_batch(texts)]

    def texts_of(documents: list[Document]) -> list[str]:
        return [document.text for document in documents]

    corpus_tokens, sample_tokens, held_tokens = encode(texts_of(training)), encode(sample), encode(texts_of(held_out))
    held_stream = np.concatenate(held_tokens)
    held_rows = torch.from_numpy(held_stream[: len(held_stream) // CONTEXT * CONTEXT].reshape(-1, CONTEXT))
    n_corpus_rows = round(CORPUS_SHARE * args.batch_rows)
    sources = [
        (rows_for_ever(corpus_tokens, seed=args.seed), n_corpus_rows),
        (rows_for_ever(sample_tokens, seed=args.seed), args.batch_rows - n_corpus_rows),
    ]
    print(f"{len(training)} + {len(sample)} documents, {sum(map(len, corpus_tokens))} + {sum(map(len, sample_tokens))} "
          f"tokens; {len(held_stream)} held out", flush=True)  # fmt: skip

    model = GPT2LMHeadModel(model_config(dropout=args.dropout))
    start = time.process_time()
    train(model, sources, held_rows, n_steps=args.steps, learning_rate=args.learning_rate)
    duration_s = time.process_time() - start

    args.to.mkdir(parents=True, exist_ok=True)
    weights = {
        name: p.detach().half().contiguous() for name, p in model.state_dict().items() if name != "lm_head.weight"
    }
    save_file(weights, args.to / "model.safetensors", metadata={"format": "pt"})
    config = model_config()
    config.architectures = ["GPT2LMHeadModel"]
    config.save_pretrained(args.to)
    tokenizer.save(str(args.to / "tokenizer.json"))

    shipped = GPT2LMHeadModel.from_pretrained(args.to, dtype=torch.float32)
    nats = held_out_loss(shipped, held_rows)
    held_bytes = sum(len(document.text.encode()) for document in held_out)
    facts: dict[str, object] = {
        "held_out_nats_per_token": nats,
        "held_out_bits_per_byte": nats / math.log(2) * len(held_stream) / held_bytes,
        "n_held_out_documents": len(held_out),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "seed": args.seed,
        "n_steps": args.steps,
        "tokens_per_step": args.batch_rows * CONTEXT,
        "dropout": args.dropout,
        "learning_rate": args.learning_rate,
        "weight_decay": WEIGHT_DECAY,
        "cpu_seconds": round(duration_s),
        "sha256": {
            "corpus": sha256(corpus_file()),
            "gensim_wheel": sha256(args.gensim_wheel),
            "model.safetensors": sha256(args.to / "model.safetensors"),
            "tokenizer.json": sha256(args.to / "tokenizer.json"),
        },
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
    (args.to / "MODEL_CARD.md").write_text(model_card(facts, json.dumps(facts, indent=2)), "utf-8")
    print(f"held-out {nats:.4f} nats per token -> {args.to}")


if __name__ == "__main__":
    main()
