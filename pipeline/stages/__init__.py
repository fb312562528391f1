"""Merging, judging, fan-out and the journal's fold and chain, in the order of the data. Pure."""
