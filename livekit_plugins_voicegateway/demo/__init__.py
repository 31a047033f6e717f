"""``voicegw demo``: spoken conversations through the gateway, with no key, account or internet."""
