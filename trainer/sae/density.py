"""When a bank leaves the dense path for the sparse one, and when it goes back. A value: it is saved with the state."""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

Path = Literal["dense", "sparse"]
PathChoice = Literal["auto", "dense", "sparse"]
"""Which path to take: what density says, or always the same one."""


class Switch(NamedTuple):
    """A change of path, as it is reported."""

    step: int
    """The step after which the path changed."""
    density: float
    path: Path
    """The path taken from then on."""


@dataclass(frozen=True)
class DensitySwitch:
    """Dense at first; sparse once few latents are positive; dense again only once clearly many are.

    The gap between the two densities keeps a bank that hovers around one of them from changing path at every step.
    """

    sparse_below: float
    dense_above: float
    path: Path = "dense"
    switches: tuple[Switch, ...] = field(default=())
    held: bool = False
    """Whether the path stays what it is, at any density."""

    def __post_init__(self) -> None:
        if not 0 <= self.sparse_below < self.dense_above:
            raise ValueError(
                f"sparse_below={self.sparse_below} and dense_above={self.dense_above}: "
                "expected 0 <= sparse_below < dense_above"
            )

    def after(self, *, step: int, density: float) -> "DensitySwitch":
        """The switch once a step has shown `density`: mean l0 of the bank's SAEs / d_sae, between 0 and 1.

        Not a number changes nothing.
        """
        if self.held:
            return self
        if self.path == "dense" and density < self.sparse_below:
            path: Path = "sparse"
        elif self.path == "sparse" and density > self.dense_above:
            path = "dense"
        else:
            return self
        return replace(self, path=path, switches=(*self.switches, Switch(step=step, density=density, path=path)))

    def choosing(self, choice: PathChoice) -> "DensitySwitch":
        """This switch; one that is held at `choice` where that names a path."""
        return self if choice == "auto" else replace(self, path=choice, held=True)

    def resumed(self, *, path: Path, switches: tuple[Switch, ...]) -> "DensitySwitch":
        """With the path and the history of a saved switch. One that is held keeps its own path."""
        return replace(self, path=self.path if self.held else path, switches=switches)


WITH_NUMBA = DensitySwitch(sparse_below=0.5, dense_above=0.6)
"""On a CPU with numba: the sparse path is still faster where half of all latents are positive."""
WITH_TORCH = DensitySwitch(sparse_below=0.03, dense_above=0.05)
"""In torch operations alone. Both are measured, on a CPU, in docs/decisions/0005-sparse-latents.md. Not on a GPU."""
