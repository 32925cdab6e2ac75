"""How it is judged: where the score went from target to target, and whether anything got worse since last time."""
