"""Volumes of any kind, by a network that was brought along, as its description says."""
