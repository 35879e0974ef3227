"""The values that live in a run folder, one class per file or line. No paths here: `layout.py` has those.

Each says its schema version where it is a file of its own. A new field with a default keeps the version; a field
removed, renamed or of another meaning raises it.
"""

from orchestrator.folder.records.manifests import CheckpointManifest, Manifest, MLflowRuns, Snapshot
from orchestrator.folder.records.names import NAME, TRIAL_ID, Number, PackId, SweepId, TrialId
from orchestrator.folder.records.plans import PackEstimate, Proposed, SavedLaunch, SavedPlan
from orchestrator.folder.records.states import Event, Holder, PackState, PackStatus, SweepState, SweepStatus
from orchestrator.folder.records.trials import CurvePoint, Dominated, Facts, Row, RowStatus, Versions

__all__ = [
    "NAME",
    "TRIAL_ID",
    "CheckpointManifest",
    "CurvePoint",
    "Dominated",
    "Event",
    "Facts",
    "Holder",
    "MLflowRuns",
    "Manifest",
    "Number",
    "PackEstimate",
    "PackId",
    "PackState",
    "PackStatus",
    "Proposed",
    "Row",
    "RowStatus",
    "SavedLaunch",
    "SavedPlan",
    "Snapshot",
    "SweepId",
    "SweepState",
    "SweepStatus",
    "TrialId",
    "Versions",
]
