"""What `swap.py` is made of: its stage, and the three things that it measures there."""
