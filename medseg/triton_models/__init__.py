"""Triton: a task's pipeline as a model repository, and the embedded server on it."""
