"""QStash's envelope: what stands around a message, whoever sends it. No Django, no network."""
