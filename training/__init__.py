"""The embedded model: its procedural data and its training recipe."""
