"""The compliance pipeline: captures of instant messages in, a complete and provable archive out."""
