"""The figures of every analysis, by its id. A new one is one file and one line here."""

from dashboards.paper.drawing import Drawing


def drawings() -> dict[str, Drawing]:
    """In no order; that of the page is the order of the analyses. Imports matplotlib."""
    from dashboards.paper import ablation, downstream, generation, norms, pca, saes, settings, training

    return {
        "ablation": ablation,
        "downstream": downstream,
        "generation": generation,
        "norms": norms,
        "pca": pca,
        "saes": saes,
        "training": training,
        "settings": settings,
    }
