"""Losses: likelihoods of the data and penalties on the weights."""

from thalweg.loss.decays import DECAYS
from thalweg.loss.guided import guided_attention
from thalweg.loss.independent_labels import IndependentLabels, in_set
from thalweg.loss.likelihood import Bernoulli, Categorical, Gaussian
from thalweg.loss.penalty import L1, L2, Sum
from thalweg.loss.reward import Reward, Rewarded
from thalweg.loss.scheduled_sampling import ScheduledSampling
from thalweg.loss.tagging import Tagging
from thalweg.loss.weighted import WeightedLoss, balanced_weights

__all__ = [
    "DECAYS",
    "L1",
    "L2",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "IndependentLabels",
    "Reward",
    "Rewarded",
    "ScheduledSampling",
    "Sum",
    "Tagging",
    "WeightedLoss",
    "balanced_weights",
    "guided_attention",
    "in_set",
]
