"""Every analysis, in the paper's order. A new one is one file and one line here, and one in `dashboards/paper`."""

from orchestrator.paper.analysis import Analysis


def analyses() -> list[Analysis]:
    """One instance of each. Imports them; none of them imports PyTorch before it runs."""
    from orchestrator.paper.ablation import Ablation
    from orchestrator.paper.downstream import Downstream
    from orchestrator.paper.generation import Generation
    from orchestrator.paper.norms import InputOutputNorms
    from orchestrator.paper.pca import PCA
    from orchestrator.paper.saes import SAEs
    from orchestrator.paper.settings import Settings
    from orchestrator.paper.training import Training

    return [
        SAEs(),
        Downstream(),
        InputOutputNorms(),
        PCA(),
        Ablation(),
        Training(),
        Settings(),
        Generation(),
    ]
