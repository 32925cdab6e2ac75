"""MONAI's bundles: their configuration read without running any of it, their networks built and loaded."""
