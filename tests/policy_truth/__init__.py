"""The detectors held against the maintainers' truth of what is and what is not a card, an IBAN, a telephone number ..."""
