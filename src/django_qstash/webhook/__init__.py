"""The only door in: every delivery of QStash comes through here."""
