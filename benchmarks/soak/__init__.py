"""A soak of `medseg serve`: asking (who asks what), killing (and how soon all is well again), memory, and the whole."""
