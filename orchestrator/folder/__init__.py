"""The run folder, which is the truth about a sweep: its values, its files written whole, and who holds it."""
