"""Files as arrays and arrays as files: volumes, pictures, masks; samples and splits; made-up patients."""
