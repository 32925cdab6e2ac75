"""What the models of a repository are called: the task's ensemble has the task's own name."""

from __future__ import annotations


def step_model(task: str, step: str) -> str:
    """The model of one step of a task's pipeline."""
    return f"{task}-{step}-step"


def network_model(network: str) -> str:
    """The model of a network; some networks are called as their task is, hence the ending."""
    return f"{network}-network"
