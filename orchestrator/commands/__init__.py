"""One file per command beyond `launch`: options, words and exit codes. The work is elsewhere."""
