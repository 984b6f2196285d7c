"""Finished results on disk: entries, the fingerprints embedded in them, locks, the links that show them, surplus."""
