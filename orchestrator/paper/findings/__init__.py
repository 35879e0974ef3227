"""What the paper found on GPT2-small, and whether the tables of a run show it: verdicts by rule, none by hand."""
