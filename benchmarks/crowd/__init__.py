"""Many calls at once in one process or in several, through the gateway or without it."""
