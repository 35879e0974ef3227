"""Training sparse autoencoders on a frozen language model: tensors in, tensors out.

Knows neither Ray nor MLflow nor pictures; usable in a notebook. `trainer.pack.Pack` trains many SAEs on one
clean run per batch and its `train()` yields what happens; whoever consumes it logs, stops or saves.
"""
