"""The networks' architectures, one per file, their losses, and the reading of checkpoints."""
