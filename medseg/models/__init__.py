"""The architectures of the networks, one per file; losses; and the reading of checkpoints."""
