"""From trials to packs, and what packs cost in time and memory, guessed or measured."""
