"""What a dictionary element means, as far as text can tell: where on the evaluation rows it is strongest.

`choice` says which elements are looked at, `collect` finds their strongest places batch by batch, `found` is what comes
out. Tensors and token ids only: whoever wants words has the tokenizer.
"""

from trainer.elements.choice import Choice, Look, choose
from trainer.elements.collect import Collector
from trainer.elements.found import Element, Snippet

__all__ = ["Choice", "Collector", "Element", "Look", "Snippet", "choose"]
