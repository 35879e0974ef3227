"""Dictionary directions of several SAEs laid out together in the plane by UMAP (paper, Figures 19 to 21, app. G.1).

umap-learn is an optional dependency: it is imported when it is asked for. What is made of the plane is in `regions`.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from trainer.errors import BadInput, EnvironmentProblem

INSTALL = "umap-learn is not installed: pip install -e '.[paper]', or pip install umap-learn"


def umap_of(
    dictionaries: Sequence[Float[Tensor, "_ d_model"]],
    *,
    seed: int = 1,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
) -> list[Float[Tensor, "_ 2"]]:
    """A point per element, float32 on the CPU, in the order given, a tensor per dictionary.

    UMAP sees unit vectors and no labels, with Euclidean distance and its own defaults, as in the paper. The same call
    gives the same points on one machine; on another one floating-point sums may move them.

    Raises:
        BadInput: fewer elements than UMAP can lay out.
        EnvironmentProblem: umap-learn is not installed.
    """
    directions = torch.cat([normalize(one.float(), dim=-1).cpu() for one in dictionaries]).numpy()
    if len(directions) <= n_neighbors + 1:
        raise BadInput(
            f"UMAP with n_neighbors={n_neighbors} needs more than {n_neighbors + 1} elements, and these SAEs have "
            f"{len(directions)} alive ones together: take SAEs with a smaller sparsity_coeff, or fewer neighbours"
        )
    with warnings.catch_warnings():
        # that TensorFlow is missing, that one thread is used, that a graph has several parts: none of it is the user's
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ModuleNotFoundError as problem:
            raise EnvironmentProblem(INSTALL) from problem
        layout = UMAP(n_neighbors=n_neighbors, min_dist=min_dist, random_state=seed, n_jobs=1)
        points = np.asarray(layout.fit_transform(directions), dtype=np.float32)
    return list(torch.from_numpy(points).split([len(one) for one in dictionaries]))
