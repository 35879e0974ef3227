"""Pictures of sweeps. Reads the files of a run folder and nothing else: imports none of our other packages."""
