"""Tokens with a meaning of their own, and the mark of a position without a target: what sequences agree on."""

PADDING, UNKNOWN, START, END = 0, 1, 2, 3
"""What fills a batch behind a sequence; what training never saw; the first and the last token of an output sequence."""
MARKS = ("<padding>", "<unknown>", "<start>", "<end>")
"""Their names, by their number."""
NO_TARGET = -100
"""torch's mark, F.cross_entropy(ignore_index=-100)."""
NEVER = -(2.0**14)
"""The score of a token that an example cannot have, as one that only another of its batch can copy: finite, so that
sums over scores are, exact in 16 bits, and its exponential is 0. Decoding takes minus infinity instead.
"""
