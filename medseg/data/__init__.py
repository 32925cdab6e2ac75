"""Reading and writing of volumes, pictures and masks; training samples and splits; tools for made-up patients."""
