"""Which column of a table holds the documents, and whether as text or as tokens. Pure: looks at names and types."""

from typing import Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa

from trainer.errors import BadInput

TEXT_NAMES = ("text", "content", "document", "story", "article", "body")
TOKEN_NAMES = ("input_ids", "tokens", "token_ids", "ids")
NEVER_TOKENS = frozenset({"attention_mask", "token_type_ids", "special_tokens_mask", "labels", "label"})

Kind = Literal["text", "tokens"]

# pyarrow declares no types; these say what is meant.
ArrowArray: TypeAlias = Any
ArrowType: TypeAlias = Any
ArrowSchema: TypeAlias = Any


class Column(NamedTuple):
    name: str
    kind: Kind


def kind_of(type_: ArrowType) -> Kind | None:
    """`text` for strings, `tokens` for lists of integers, None for anything else."""
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return "text"
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    if is_list and pa.types.is_integer(type_.value_type):
        return "tokens"
    return None


def choose_column(schema: ArrowSchema, wanted: str, *, where: str) -> Column:
    """The column named `wanted`; or, for `auto`, the one to read.

    `auto` takes the first text column with a usual name; else the first token column with a usual name; else the only
    column that could be either. Text goes first because tokens may be another tokenizer's.

    Raises:
        BadInput: no such column, one of another type, or none or several to choose from; lists the columns.
    """
    kinds: dict[str, Kind | None] = {field.name: kind_of(field.type) for field in schema}
    listing = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    if wanted != "auto":
        if (kind := kinds.get(wanted)) is not None:
            return Column(wanted, kind)
        problem = "is neither text nor a list of integers" if wanted in kinds else "is not there"
        raise BadInput(f"data.column={wanted} {problem} in {where}. Its columns: {listing}")
    usual = [Column(name, "text") for name in TEXT_NAMES] + [Column(name, "tokens") for name in TOKEN_NAMES]
    for column in usual:
        if kinds.get(column.name) == column.kind:
            return column
    possible = [Column(name, kind) for name, kind in kinds.items() if kind and name not in NEVER_TOKENS]
    if len(possible) == 1:
        return possible[0]
    raise BadInput(
        f"cannot tell which column of {where} holds the text or the tokens. Its columns: {listing}. "
        "Name one that holds strings or lists of integers: --set data.column=NAME"
    )
