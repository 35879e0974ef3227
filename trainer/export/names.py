"""What other tools call a model and a place in it. Tables only; a name that is not in them is passed on as it is."""

HOOKED_NAMES = {
    "gpt2": "gpt2-small",
    "openai-community/gpt2": "gpt2-small",
    "openai-community/gpt2-medium": "gpt2-medium",
    "openai-community/gpt2-large": "gpt2-large",
    "openai-community/gpt2-xl": "gpt2-xl",
}
"""TransformerLens' names, which SAELens, SAEBench and Neuronpedia use, by hub id. Others are the hub id itself."""

BLOCK_MODULES = {
    "gpt2": "transformer.h",
    "gpt_neo": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "llama": "model.layers",
}
"""The list of blocks in transformers' module, by family."""
EMBEDDING_MODULES = {
    "gpt2": "transformer.drop",
    "gpt_neo": "transformer.drop",
    "gpt_neox": "gpt_neox.emb_dropout",
    "llama": "model.embed_tokens",
}
"""The module whose output is the input of block 0."""


def hooked_name(model: str) -> str:
    """TransformerLens' name of a model that we know by its hub id."""
    return HOOKED_NAMES.get(model, model)


def module_before(layer: int, *, family: str) -> str | None:
    """The module of transformers' model whose output is the input of block `layer`; None for an unknown family."""
    if family not in BLOCK_MODULES:
        return None
    return EMBEDDING_MODULES[family] if layer == 0 else f"{BLOCK_MODULES[family]}.{layer - 1}"
