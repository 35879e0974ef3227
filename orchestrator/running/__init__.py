"""One launch, the driver's side: check, prepare, run packs with Ray or here, watch, recover, finish."""
