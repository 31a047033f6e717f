"""Faults that are made on purpose, and what they cost; `benchmarks/faults.py` runs them."""
