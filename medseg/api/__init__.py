"""What the commands do, as functions: the layer below `medseg.cli` and `medseg.bench`."""
