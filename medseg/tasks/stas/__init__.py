"""STAS: a pathology picture in, spread through air spaces outlined."""
