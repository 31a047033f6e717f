"""What `overhead.py` is made of: one plugin in four places, and how to measure it there."""
