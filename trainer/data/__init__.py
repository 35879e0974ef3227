"""Token rows of fixed length from any text: read once, stored once, any batch of any step addressed by its number.

Boundary: text or token lists in, `Rows` out. Nothing here knows the model beyond its tokenizer and its vocabulary
size, or what the rows are used for.
"""

from trainer.data.prepare import Preparing, check_request, default_cache, prepare_rows
from trainer.data.rows import Rows, RowSet, rows_in_memory

__all__ = ["Preparing", "RowSet", "Rows", "check_request", "default_cache", "prepare_rows", "rows_in_memory"]
