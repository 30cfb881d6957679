"""Images of many requests to one run of a session: queue, lanes, admission."""
