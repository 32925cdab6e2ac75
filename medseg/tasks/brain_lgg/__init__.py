"""Brain LGG: an MR volume in, the lower-grade glioma outlined."""
