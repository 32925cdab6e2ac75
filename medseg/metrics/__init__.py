"""Metrics of masks and of findings. Each says what it answers where there is nothing to find."""
