"""What did the paper measure, on this sweep? The command `paper`: which SAEs, which analyses, tasks and their cache.

Numbers come from `trainer/analysis`, pictures from `dashboards/paper`; here are what is chosen, run, kept and written.
"""
