"""What a cohort costs, how fast it is, and what it withstands: `python -m benchmarks.cohorts`."""
