"""What a sweep is: its file read and checked, its trials, and which run folder it belongs to. Starts nothing."""
