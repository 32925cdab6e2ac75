"""The front: the only thing of `medseg serve` that listens on ports. Triton listens on sockets in a private folder."""
