"""LUNA: a CT in, lung nodules out."""
