"""How much MLflow has not got, from files alone."""

from orchestrator.tracking import spool_bytes
from tests.orchestrator.tracking.a_sweep import ASweep


def test_the_spool_is_what_mlflow_has_not_got(sweep: ASweep, sqlite: str):
    sweep.save()
    assert spool_bytes(sweep.folder) == 0
    sweep.train(4)
    size = sum(path.stat().st_size for path in sweep.folder.path.glob("journal/*"))
    assert spool_bytes(sweep.folder) == size > 0
    sweep.copier(sqlite).copy(ended=True)
    assert spool_bytes(sweep.folder) == 0
    sweep.train(2)
    assert 0 < spool_bytes(sweep.folder) < size
