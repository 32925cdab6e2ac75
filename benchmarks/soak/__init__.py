"""The soak test of `medseg serve`: asking (the requests), killing (kills and recovery), memory, and __main__."""
