"""The HTTP API under ``/v1``: each route asks `Reports` and gives its answer as it is."""
