"""Pictures and pages of sweeps. Reads files of run folders and nothing else: imports none of our other packages."""
