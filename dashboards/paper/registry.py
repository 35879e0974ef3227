"""The figures of every analysis, by its id. A new one is one file and one line here."""

from dashboards.paper.drawing import Drawing


def drawings() -> dict[str, Drawing]:
    """In no order; that of the page is the order of the analyses. Imports matplotlib."""
    from dashboards.paper import (
        ablation,
        autointerp,
        cross_seed,
        cross_type,
        downstream,
        findings,
        generation,
        geometry,
        norms,
        pca,
        saes,
        settings,
        sva,
        training,
        umap,
    )

    return {
        "ablation": ablation,
        "autointerp": autointerp,
        "downstream": downstream,
        "findings": findings,
        "cross_seed": cross_seed,
        "cross_type": cross_type,
        "geometry": geometry,
        "umap": umap,
        "generation": generation,
        "norms": norms,
        "pca": pca,
        "saes": saes,
        "sva": sva,
        "training": training,
        "settings": settings,
    }
