"""Files: atomic writes, JSON configurations, tensors, run folders and saved models."""
