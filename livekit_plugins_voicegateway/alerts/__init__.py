"""Alerts: a webhook is told when a budget runs out, a price is unknown, or the ledger fails.

`Notices` makes alerts of what a process notices, and `AlertWorker` sees to it that somebody is
told, once although many processes notice it: an alert stands in the ledger, and whoever claims it
there sends it. The server sends in the same way what dead workers left behind. docs/alerts.md
describes alerts to people.
"""
