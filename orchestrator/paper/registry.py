"""Every analysis, in the paper's order. A new one is one file and one line here, and one in `dashboards/paper`."""

from orchestrator.paper.analysis import Analysis


def analyses() -> list[Analysis]:
    """One instance of each. Imports them; none of them imports PyTorch before it runs."""
    from orchestrator.paper.ablation import Ablation
    from orchestrator.paper.autointerp import AutomatedInterpretability
    from orchestrator.paper.cross import CrossSeed, CrossType
    from orchestrator.paper.downstream import Downstream
    from orchestrator.paper.generation import Generation
    from orchestrator.paper.geometry import Geometry
    from orchestrator.paper.norms import InputOutputNorms
    from orchestrator.paper.pca import PCA
    from orchestrator.paper.saes import SAEs
    from orchestrator.paper.settings import Settings
    from orchestrator.paper.sva import SubjectVerbAgreement
    from orchestrator.paper.training import Training
    from orchestrator.paper.umap import UMAPs

    return [
        SAEs(),
        Downstream(),
        Geometry(),
        CrossSeed(),
        CrossType(),
        AutomatedInterpretability(),
        InputOutputNorms(),
        Settings(),
        UMAPs(),
        PCA(),
        Ablation(),
        Training(),
        SubjectVerbAgreement(),
        Generation(),
    ]
