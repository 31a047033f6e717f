"""Ledgers full of requests, made within minutes: `sqlite` and `postgres` fill one each."""
