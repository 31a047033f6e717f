"""``voicegw serve``: HTTP API, dashboard, MCP and metrics, in one process on one ledger.

Everything here asks `Reports` and so agrees with the command line. Needs the ``server`` extra; the
command line imports nothing of it before ``voicegw serve`` runs.
"""
