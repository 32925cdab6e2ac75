"""How long a test waits for what must come: no promise of medseg's, but an end to waiting on any busy machine."""

PATIENCE_S = 600.0  # less than the limit after which pytest ends a test
