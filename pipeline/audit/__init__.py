"""Exports and proof: what the archive holds, and that it holds all of it."""
