"""DALI: decoding and augmentation, one definition for CPU and GPU, used by training and by serving."""
