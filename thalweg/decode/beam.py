r"""Beam search: keep the `width` likeliest beginnings, go on from each, and set aside those that end.

At each step the beginnings $y_{<t}$ of an example and all tokens make candidates, of which the `width` with the largest
$\log p(y_{\leq t} \mid x)$ are kept. Those that end in `END` leave the beam and are ranked by their score; the others
are the beginnings of the next step. With one beam this is greedy search, with as many as there are beginnings it finds
the best output of all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from thalweg.core.decoder import follow, is_attentive, spread
from thalweg.core.errors import RecipeError
from thalweg.core.tokens import END, START
from thalweg.decode.candidates import Candidates, choose, held_to, with_required
from thalweg.decode.continuations import Blocks
from thalweg.decode.finished import Finished, Place, handed_out
from thalweg.decode.hypothesis import Hypothesis
from thalweg.decode.ranking import Ranking
from thalweg.decode.required import Required
from thalweg.decode.rules import Prefix, Rules, check_whole
from thalweg.decode.stepping import (
    ask,
    ask_attended,
    checked_normalizers,
    decoding,
    exact,
    may_leave,
    memory_for,
    read_inputs,
)
from thalweg.decode.tree import BeamTree, Chosen, Record


def beam_search(
    model: Any,
    inputs: Mapping[str, Any],
    *,
    width: int = 5,
    nbest: int = 1,
    length_penalty: float = 0.6,
    normalization: str = "power",
    coverage_penalty: float = 0.0,
    groups: int = 1,
    diversity_penalty: float = 0.5,
    prefix: Prefix | None = None,
    banned: Sequence[int] | Tensor | np.ndarray = (),
    required: Sequence[Any] = (),
    shortest: int = 0,
    longest: int | Sequence[int] | Tensor | np.ndarray = 100,
    trees: list[BeamTree] | None = None,
) -> list[list[Hypothesis]]:
    r"""The `nbest` outputs that a search with `width` beams finds for each example, the best first.

    `inputs` are those of a batch, without its `prefix`. Outputs are ranked by `length_penalty` (0: the log-likelihood
    itself, 1: its mean over the tokens), `normalization` ("power" or "gnmt") and `coverage_penalty`, as in
    `thalweg.decode.ranking`; coverage needs a model that has `attended`. Within a step it is the log-likelihood that
    counts. An example is done as soon as no beginning that is left could still come among its `nbest`, whatever came
    behind it; with a length penalty above 0 that depends on `longest`, so keep it near to what outputs can be.

    `groups` share the beams and shun each other's tokens by `diversity_penalty` (Vijayakumar et al. 2016); each has an
    equal share of the `nbest`. `prefix` is what outputs begin with, a list of tokens for all or for each example;
    `banned` tokens never come; `required` tokens and phrases (tuples) all come, for all examples or, as lists, for each
    (Post & Vilar 2018). `shortest` and `longest` count tokens without `END`; after `longest` tokens, one number for all
    or for each, only `END` may come. `PADDING` and `START` never do. A list given as `trees` gets the tree of each
    example added.

    An example's outputs do not depend on the others of its batch, but for the last bits of the model's scores. They are
    searched for without gradients, in evaluation mode.

    >>> class Coin:
    ...     def encode(self, source):
    ...         return source
    ...     def step(self, state, tokens):  # padding, unknown, start, end, heads, tails
    ...         return torch.tensor([0, 0, 0, 0.4, 0.5, 0.1]).log().expand(len(tokens), -1), state
    >>> for found in beam_search(Coin(), {"source": torch.zeros(1)}, width=2, nbest=2, length_penalty=0.0)[0]:
    ...     found.tokens, round(found.score, 3)
    ((), -0.916)
    ((4,), -1.609)

    Raises `RecipeError` for a model that cannot be decoded from, scores that are NaN or of another shape, unknown
    tokens, and arguments out of their range or at odds with each other.
    """
    plan = Plan(width, nbest, groups, diversity_penalty, Ranking(length_penalty, normalization, coverage_penalty))
    examples, device = read_inputs(model, inputs)
    plan.check(model)
    rules = Rules.of(examples, device, prefix=prefix, banned=banned, shortest=shortest, longest=longest)
    phrases = Required.of(required, examples, rules)
    if not examples:
        return []
    with decoding(model):
        finished, record = _search(model, inputs, plan, rules, phrases)
    results = [
        places or _unfinished(example, record, plan)
        for example, places in enumerate(handed_out(finished, record, nbest))
    ]
    if trees is not None:
        trees += [record.tree(e, groups, [place.node for place in places]) for e, places in enumerate(results)]
    return [[place.hypothesis for place in places] for places in results]


@dataclass(frozen=True)
class Plan:
    """How wide a search is, how many outputs are wanted, and how they are compared."""

    width: int
    nbest: int
    groups: int
    diversity: float
    ranking: Ranking

    def check(self, model: Any) -> None:
        """Raise `RecipeError` where the numbers do not fit each other, or the model."""
        for name, value in (("width", self.width), ("nbest", self.nbest), ("groups", self.groups)):
            check_whole(name, value, 1)
        if self.nbest > self.width:
            raise RecipeError(
                f"Decoding: nbest is {self.nbest}, but a search of width {self.width} is sure of no more outputs than "
                f"beams. Take width={self.nbest} or more."
            )
        if self.width % self.groups:
            raise RecipeError(
                f"Decoding: {self.groups} groups cannot share {self.width} beams equally. Take a width that is a "
                f"multiple, such as {self.groups * -(-self.width // self.groups)}."
            )
        if not isinstance(self.diversity, int | float) or not 0 <= self.diversity < float("inf"):
            raise RecipeError(
                f"Decoding: diversity_penalty is {self.diversity!r}, but it is a finite number of at least 0. Give for "
                "instance 0.5."
            )
        if self.ranking.coverage_penalty and not is_attentive(model):
            raise RecipeError(
                f"Decoding: coverage_penalty is {self.ranking.coverage_penalty}, but {type(model).__name__} does not "
                "say what it attends to. Give it attended(state) -> (weights, there), as in "
                "thalweg.core.decoder.AttentiveDecoder, or take 0.0."
            )


@dataclass(frozen=True)
class Front:
    """The beginnings that are searched on from, of the examples that are still in the batch."""

    present: Int[Tensor, " example"]
    """The examples' numbers in the batch."""
    totals: Float[Tensor, "example beam"]
    """Log-likelihoods; minus infinity where a beam holds nothing."""
    tokens: Int[Tensor, "example beam"]
    """What each ends with."""
    rules: Rules
    required: Required | None = None
    states: Int[Tensor, "example beam phrase"] | None = None
    coverage: Float[Tensor, "example beam position"] | None = None
    there: Bool[Tensor, "example beam position"] | None = None

    @classmethod
    def begin(cls, plan: Plan, rules: Rules, required: Required | None) -> "Front":
        """Before the first token: one beginning, `START`, for each example and group."""
        examples, device = len(rules.longest), rules.longest.device
        totals = torch.full((examples, plan.width), -torch.inf, dtype=exact(device), device=device)
        totals[:, :: plan.width // plan.groups] = 0.0
        tokens = torch.full((examples, plan.width), START, device=device)
        states = required.begin(plan.width) if required else None
        return cls(torch.arange(examples, device=device), totals, tokens, rules, required, states)

    def attending(self, model: Any, state: Any, time: int) -> "Front":
        """With what the token that comes next attends to added to what was attended to before."""
        weights, there = ask_attended(model, state, self.totals.flatten() > -torch.inf, time)
        shape = (*self.tokens.shape, weights.shape[1])
        before = 0.0 if self.coverage is None else self.coverage
        return replace(self, coverage=before + weights.view(shape), there=there.view(shape))

    def after(
        self, chosen: Chosen, states: Int[Tensor, "example beam phrase"] | None, done: Bool[Tensor, " example"]
    ) -> "Front":
        """With the chosen tokens; what has ended, and examples that are done, hold nothing any more."""
        closed = (chosen.tokens == END) | (chosen.totals == -torch.inf) | done[:, None]
        coverage = self.coverage
        if coverage is not None:
            coverage = coverage.gather(1, chosen.parents[:, :, None].expand_as(coverage))
        return replace(
            self,
            totals=chosen.totals.masked_fill(closed, -torch.inf),
            tokens=chosen.tokens.masked_fill(closed, END),
            states=states,
            coverage=coverage,
        )

    def take(self, kept: Bool[Tensor, " example"]) -> "Front":
        """Some of the examples."""
        tensors = ("present", "totals", "tokens", "states", "coverage", "there")
        parts: dict[str, Any] = {name: getattr(self, name) for name in tensors}
        parts = {name: None if part is None else part[kept] for name, part in parts.items()}
        required = self.required.take(kept) if self.required else None
        return replace(self, **parts, rules=self.rules.take(kept), required=required)


def _search(
    model: Any, inputs: Mapping[str, Any], plan: Plan, rules: Rules, required: Required | None
) -> tuple[Finished, Record]:
    """The best finished hypotheses, and what each step kept."""
    examples = len(rules.longest)
    state = spread(model, model.encode(**inputs), plan.width, rules.most + 1)
    front = Front.begin(plan, rules, required)
    finished = Finished.none(examples, plan.groups, plan.nbest, front.totals)
    record = Record(examples, plan.width)
    memory: Tensor | None = None
    blocks: list[Blocks] = []
    for time in range(rules.most + 1):
        scores, state = ask(model, state, front.tokens.flatten(), time, memory)
        if memory is None:
            rules.check(scores.shape[1])
            if required is not None:
                required.check(scores.shape[1])
            memory = memory_for(scores)
            blocks = [Blocks.of(scores.shape[1], rules.unwanted(when)) for when in (0, rules.shortest)]
        if plan.ranking.coverage_penalty:
            front = front.attending(model, state, time)
        wanted = blocks[time >= rules.shortest]
        chosen, states = _chosen(scores, front, plan, time, memory, wanted)
        record.add(front.present, chosen)
        ended = (chosen.tokens == END) & (chosen.totals > -torch.inf)
        if bool(ended.any()):
            finished = finished.joined(front.present, _ended(front, chosen, ended, plan, time))
        done = _done(front, chosen, finished, plan, time)
        count = int(done.sum())
        if count == len(done):
            break
        front = front.after(chosen, states, done)
        rows = chosen.parents + torch.arange(0, chosen.parents.numel(), plan.width, device=done.device)[:, None]
        if may_leave(model, count, len(done)):
            front, rows = front.take(~done), rows[~done]
        if plan.width > 1 or len(rows) < len(done):
            state = follow(model, state, rows.flatten())
    return finished, record


def _chosen(
    scores: Float[Tensor, "row token"],
    front: Front,
    plan: Plan,
    time: int,
    memory: Float[Tensor, "some token"],
    blocks: Blocks,
) -> tuple[Chosen, Int[Tensor, "example beam phrase"] | None]:
    """What is kept of each example: of all beams at once, where they compete with each other alone."""
    forced = front.rules.forced(time)
    if front.required is not None or forced is not None or plan.groups > 1:
        found = _candidates(scores, front, plan, time, memory, forced)
        return choose(found, plan.groups, plan.diversity, front.required)
    highest = blocks.maxima(scores)
    used = front.totals.flatten() > -torch.inf
    normalizer = checked_normalizers(scores, highest.amax(1), used, time, front.present, memory)
    return blocks.best(scores, highest, normalizer, front.totals), None


def _candidates(
    scores: Float[Tensor, "row token"],
    front: Front,
    plan: Plan,
    time: int,
    memory: Float[Tensor, "some token"],
    forced: Int[Tensor, " example"] | None,
) -> Candidates:
    """What may come next of each beam, of which the best `width` are enough."""
    rows = None if forced is None else forced.repeat_interleave(plan.width)
    count = plan.width + (front.required is not None)  # of those that lack something, END is taken out
    values, tokens, highest = front.rules.best(scores, count, time, rows)
    used = front.totals.flatten() > -torch.inf
    normalizer = checked_normalizers(scores, highest, used, time, front.present, memory)
    if front.required is not None and front.states is not None:
        free = torch.ones_like(front.present, dtype=torch.bool) if forced is None else forced < 0
        values, tokens = with_required(scores, (values, tokens), front.states, front.required, free)
    totals = front.totals.flatten()[:, None] + (values - normalizer[:, None])
    totals = totals.masked_fill(~used[:, None], -torch.inf)
    shape = (*front.tokens.shape, -1)
    found = Candidates(totals.view(shape), tokens.view(shape))
    if front.required is None or front.states is None:
        return found
    return held_to(front.required, found, front.states, front.rules, time)


def _ended(front: Front, chosen: Chosen, ended: Bool[Tensor, "example beam"], plan: Plan, time: int) -> Finished:
    """Those that ended, with their scores."""
    scores = plan.ranking.score(chosen.totals, time + 1)
    if front.coverage is not None and front.there is not None:
        covered = plan.ranking.covered(front.coverage, front.there)
        scores = scores + covered.gather(1, chosen.parents)
    nodes = torch.arange(plan.width, device=ended.device) + time * plan.width
    shape = (len(ended), plan.groups, -1)
    return Finished(
        scores.masked_fill(~ended, -torch.inf).view(shape),
        chosen.totals.view(shape),
        nodes.expand_as(ended).reshape(shape),
    )


def _done(front: Front, chosen: Chosen, finished: Finished, plan: Plan, time: int) -> Bool[Tensor, " example"]:
    """Whether nothing that is left of an example could still come among its best.

    A new hypothesis stands behind an older one of the same score, so the bound may be reached.
    """
    left = chosen.totals.masked_fill(chosen.tokens == END, -torch.inf).unflatten(1, (plan.groups, -1)).amax(2)
    bound = plan.ranking.bound(left, time + 1, front.rules.longest)
    return (bound <= finished.scores[front.present][:, :, -1]).all(1)


def _unfinished(example: int, record: Record, plan: Plan) -> list[Place]:
    """What an example that finished nothing had last, ranked as if it ended there, and without coverage."""
    nodes = record.last_open(example)[: plan.nbest]
    if not len(nodes):
        return [Place(Hypothesis((), 0.0, 0.0, finished=False), -1)]
    table = torch.zeros(record.examples, len(nodes), dtype=torch.int64, device=nodes.device)
    table[example] = nodes
    found = []
    for node, path in zip(nodes.tolist(), record.paths(table)[example], strict=True):
        total = record.total(example, node)
        score = float(plan.ranking.score(torch.tensor(total, dtype=torch.float64), len(path)))
        group = node % plan.width * plan.groups // plan.width
        found.append(Place(Hypothesis(tuple(path), score, total, finished=False, group=group), node))
    return found
