"""The fit: weights, data, the Lightning module, optimizers, sweeps."""
