"""GI tract: an MR slice in, large bowel, small bowel and stomach outlined."""
