"""nnU-Net's models: found in a folder or a zip, their plans as a description, their networks built and loaded."""
