"""STAS: a pathology picture in, spread through air spaces outlined."""

from medseg.tasks.stas.pipeline import vote

__all__ = ["vote"]
