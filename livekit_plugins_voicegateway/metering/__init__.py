"""Metering: what a request used, measured where it leaves us, and estimated where nobody says."""
