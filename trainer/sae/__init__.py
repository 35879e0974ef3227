"""SAEs as tensors: a bank of them that is trained, one that is finished, and the ways to compute through them.

Knows no loss, no model and no file.
"""
