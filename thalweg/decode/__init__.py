"""Decoding: from a model that scores the next token to whole outputs, and what the model thinks of them."""

from thalweg.decode.beam import beam_search
from thalweg.decode.constrained import Bracketing, Constrained, Distinct, Grammar
from thalweg.decode.greedy import greedy
from thalweg.decode.hypothesis import Hypothesis
from thalweg.decode.likelihood import forced_log_likelihood, log_likelihood
from thalweg.decode.sampling import sample
from thalweg.decode.tree import BeamTree, Node

__all__ = [
    "BeamTree",
    "Bracketing",
    "Constrained",
    "Distinct",
    "Grammar",
    "Hypothesis",
    "Node",
    "beam_search",
    "forced_log_likelihood",
    "greedy",
    "log_likelihood",
    "sample",
]
