"""A QStash-compatible server for development and tests; it speaks QStash's own HTTP API, v2.

From a letter's way in to its way out: ``api`` (what a request says) → ``state`` (what is known)
→ ``machine`` (what happens next; pure, the clock is handed in) → ``delivery`` (the HTTP calls).
``server`` holds them together, ``store`` keeps them in a file, ``embedded`` runs them in a test.
"""
