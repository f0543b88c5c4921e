r"""Replaced inputs: which tokens of a gold prefix a decoder does not get in training, and what it gets instead.

Where a token is *wrong on purpose*, it is another one: drawn as often as they stand in the batch (unigram noise: Xie et
al., "Data Noising as Smoothing in Neural Network Language Models", 2017), or *confusable*, drawn from what the model
itself takes the gold token for,

$$ q(v) = p(v \mid x, y_{<t}) / (1 - p(y_t \mid x, y_{<t})), \quad v \ne y_t, $$

so that it needs no list of what looks or sounds alike, and goes for letters, sounds and words. Where it is the model's
*own*, it is the likeliest token or one drawn from $p$. `START`, what pads and where there is no input stay as they are,
and these two and `END` never come: none of them is fed in decoding. Where only some tokens are replaced, `among`, they
are by one another: labels of the brackets of a tree, so that whatever is fed is the beginning of a tree.

The model is asked step by step, each token after the ones truly fed (Bengio et al. 2015), or in two passes: once with
the gold prefix, whose predictions are then fed in all places at once (Mihaylova & Martins, "Scheduled Sampling for
Transformers", 2019). No gradient goes through what is chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from thalweg.core.decoder import check_decoder, spread
from thalweg.core.evaluating import evaluating
from thalweg.core.objective import apply
from thalweg.core.tokens import END, PADDING, START


@dataclass(frozen=True)
class Replacing:
    """What is replaced in a prefix, drawn before any score is known; `own` and `wrong` have no place in common.

    A token is found by the share `uniform` of what there is to draw from: of `common`, the sorted tokens of the batch,
    or of the model's scores, where that is None and where a place is `own`; there, of the `top_k` likeliest. `among`
    says which tokens are replaced, and fed instead; None: all.
    """

    gold: Int[Tensor, "batch length"]
    wrong: Bool[Tensor, "batch length"]
    own: Bool[Tensor, "batch length"]
    uniform: Float[Tensor, "batch length"]
    common: Int[Tensor, " token"] | None
    top_k: int | None = None
    among: Int[Tensor, " some"] | None = None

    @classmethod
    def of(
        cls,
        prefix: Int[Tensor, "batch length"],
        wrong: float,
        own: float,
        *,
        confusable: bool = False,
        top_k: int | None = None,
        among: Int[Tensor, " some"] | None = None,
        generator: torch.Generator | None = None,
    ) -> "Replacing":
        """Each token is wrong with one probability, and else the model's own with another.

        >>> Replacing.of(torch.tensor([[START, 7, 8, PADDING]]), 1.0, 1.0).wrong
        tensor([[False,  True,  True, False]])
        """
        draws = torch.rand((3, *prefix.shape), generator=generator, device=prefix.device)
        there = (prefix != PADDING) & (prefix != START)
        there[:, :1] = False
        if among is not None:
            there &= torch.isin(prefix, among)
        is_wrong = there & (draws[0] < (0.0 if among is not None and len(among) < 2 else wrong))
        common = None if confusable or not wrong else prefix[there].sort().values
        return cls(prefix, is_wrong, there & ~is_wrong & (draws[1] < own), draws[2], common, top_k, among)

    @property
    def asks(self) -> bool:
        """Whether what the model predicts is needed."""
        return bool((self.own if self.common is not None else self.own | self.wrong).any())

    def __call__(self, place: int | slice, scores: Float[Tensor, "... token"] | None = None) -> Int[Tensor, "..."]:
        """The tokens fed at a place, or at several; `scores` are of what comes there."""
        gold, wrong, own, uniform = (part[:, place] for part in (self.gold, self.wrong, self.own, self.uniform))
        fed = gold if self.common is None else torch.where(wrong, another(self.common, gold, uniform), gold)
        if scores is None:
            return fed
        may = fit_to_feed(scores)
        if self.among is not None:
            may = torch.full_like(may, -torch.inf).index_copy(-1, self.among, may[..., self.among])
        if self.common is None and bool(wrong.any()):
            others = may.scatter(-1, gold[..., None], -torch.inf)
            fed = torch.where(wrong, drawn(others, uniform), fed)
        return torch.where(own, drawn(may, uniform, self.top_k), fed)


def another(
    common: Int[Tensor, " token"], gold: Int[Tensor, "..."], uniform: Float[Tensor, "..."]
) -> Int[Tensor, "..."]:
    """For each token another one of these, which are sorted, as often as it stands there; itself where there is none.

    >>> another(torch.tensor([4, 5, 5, 6]), torch.tensor([5, 5, 4]), torch.tensor([0.4, 0.6, 0.5]))
    tensor([4, 6, 5])
    """
    if not len(common):
        return gold
    gold = gold.contiguous()
    first, behind = torch.searchsorted(common, gold), torch.searchsorted(common, gold, right=True)
    others = len(common) - (behind - first)
    place = torch.minimum((uniform * others).long(), (others - 1).clamp(min=0))
    place = torch.where(place < first, place, place + behind - first)
    return torch.where(others > 0, common[place.clamp(max=len(common) - 1)], gold)


def fit_to_feed(scores: Float[Tensor, "... token"]) -> Float[Tensor, "... token"]:
    """Scores, in 32 bits or more, with minus infinity for what is never fed.

    >>> fit_to_feed(torch.zeros(6)).exp()
    tensor([0., 1., 0., 0., 1., 1.])
    """
    kept = scores.to(torch.promote_types(torch.float32, scores.dtype), copy=True)
    kept[..., PADDING] = kept[..., START] = kept[..., END] = -torch.inf
    return kept


def drawn(
    scores: Float[Tensor, "... token"], uniform: Float[Tensor, "..."], top_k: int | None = None
) -> Int[Tensor, "..."]:
    """The token at the share `uniform` of the probability: of all, or of the `top_k` likeliest; with 1 the likeliest.

    What has a score of minus infinity is not drawn.

    >>> scores = torch.tensor([0.5, 0.3, 0.2]).log().expand(2, -1)
    >>> drawn(scores, torch.tensor([0.4, 0.6])), drawn(scores, torch.tensor([0.6, 0.9]), 2)
    (tensor([0, 1]), tensor([0, 1]))
    """
    if top_k == 1:
        return scores.argmax(-1)
    values, tokens = scores.topk(min(top_k, scores.shape[-1])) if top_k else (scores, None)
    running = values.softmax(-1).cumsum(-1)
    whole = running[..., -1:]
    below = torch.minimum(uniform[..., None].to(whole.dtype) * whole, whole.nextafter(torch.zeros_like(whole)))
    place = torch.searchsorted(running, below, right=True).clamp(max=running.shape[-1] - 1)  # of NaN it is beyond
    return (place if tokens is None else tokens.gather(-1, place))[..., 0]


def in_two_passes(model: nn.Module, x: Mapping[str, Any], replacing: Replacing) -> Int[Tensor, "batch length"]:
    """The tokens fed, from what the model predicts after the gold ones; for any `model(**inputs, prefix=...)`."""
    prefix = replacing.gold
    with evaluating(model), torch.no_grad():
        scores = apply(model, {**x, "prefix": prefix})[:, :-1]
    return torch.cat([prefix[:, :1], replacing(slice(1, None), scores)], 1)


def step_by_step(model: Any, x: Mapping[str, Any], replacing: Replacing) -> Int[Tensor, "batch length"]:
    """The tokens fed, each from what the model predicts after those before it.

    Raises `RecipeError` for a model without `encode` and `step`.
    """
    check_decoder(model)
    prefix = replacing.gold
    fed, length = [prefix[:, 0]], prefix.shape[1]
    with evaluating(model), torch.no_grad():
        state = model.encode(**{name: part for name, part in x.items() if name != "prefix"})
        state = spread(model, state, 1, length)
        for place in range(1, length):
            scores, state = model.step(state, fed[-1])
            fed.append(replacing(place, scores))
    return torch.stack(fed, 1)
