"""What `benchmarks/scale.py` measures, a module for each part of the project."""
