"""Letters that are part of a transaction, or that QStash could not take yet."""
