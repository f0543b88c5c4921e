"""Reference learners: what the loss is compared with, each fitted without the examples that it is asked about.

The filters of patches alone are cut from all images, for they see no targets.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.diagnosis.deadline import check_time

SMOOTHING = 0.01
"""The share of a uniform distribution in every reference's probabilities, which would else be infinitely wrong."""
FOLDS = 4
CONSTANT = "the best constant"
LEAST_SIDE = 6
"""Images have at least so many pixels a side; what is smaller is read as a table."""
LARGEST = 32
"""Larger images are scaled down until no side is longer: what a patch of six pixels says of a large photo is its noise,
and of so many pixels no learner here makes anything."""
WIDE = 128
"""Inputs of more numbers are too wide for boosted trees, whose time grows with each: a kernel machine replaces them."""
DIRECTIONS, LANDMARKS = 50, 400
"""Of wide inputs: the principal components that are read, and the examples that they are compared with."""


@dataclass
class Inputs:
    """The inputs as rows, and the shape that an example had."""

    rows: np.ndarray
    shape: tuple[int, ...]
    numbers: bool = True
    """Whether an example was one tensor of numbers, not tokens or several inputs side by side."""
    patches: np.ndarray | None = field(default=None, repr=False)
    """How much each image looks like patches of others, once a learner has asked."""

    @property
    def images(self) -> bool:
        """Whether an example is (channels, height, width)."""
        return is_image(self.shape)

    @property
    def wide(self) -> bool:
        """Whether an example has too many numbers for trees."""
        return self.rows.shape[1] > WIDE

    def read_by(self, learner: str) -> np.ndarray:
        """What a learner is given; patches are cut without a look at the targets, once for all folds."""
        if not learner.startswith(PATCHES):
            return self.rows
        if self.patches is None:
            from thalweg.diagnosis.patches import PatchFeatures

            features = PatchFeatures((self.shape[0], self.shape[1], self.shape[2]))
            self.patches = features.fit(self.rows).transform(self.rows)
        return self.patches


def is_image(shape: Sequence[int]) -> bool:
    """Whether an example of this shape is an image: channels, height and width.

    >>> is_image((3, 32, 32)), is_image((64,)), is_image((1, 3, 50))
    (True, False, False)
    """
    return len(shape) == 3 and min(shape[1:]) >= LEAST_SIDE


def as_rows(x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """A row for each example, images no larger than learners can use, and the shape that a row has.

    >>> rows, shape = as_rows(torch.zeros(5, 3, 64, 48))
    >>> rows.shape, shape
    (torch.Size([5, 2304]), (3, 32, 24))
    """
    if is_image(x.shape[1:]) and (scale := LARGEST / max(x.shape[2:])) < 1:
        sides = (max(LEAST_SIDE, round(x.shape[2] * scale)), max(LEAST_SIDE, round(x.shape[3] * scale)))
        x = torch.nn.functional.adaptive_avg_pool2d(x.float(), sides)
    return flat(x), tuple(x.shape[1:])


TOKENS, MOST_TOKENS = 256, 4096
"""Whole numbers below the first stand for what they name, where that makes no more than so many columns."""


def tokens_as_rows(x: Tensor) -> Tensor:
    """Which token stands where as 0 and 1, and how often each stands anywhere; other whole numbers as they are.

    >>> tokens_as_rows(torch.tensor([[1, 1], [0, 1]])).tolist()
    [[0.0, 1.0, 0.0, 1.0, 0.0, 2.0], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]]
    """
    x = flat(x).long() if x.dim() > 1 else x.long()[:, None]
    kinds = int(x.max()) + 1
    if int(x.min()) < 0 or kinds > TOKENS:
        return x.float()
    each = torch.nn.functional.one_hot(x, kinds)
    counts = each.sum(1)
    return torch.cat([*([flat(each)] if each[0].numel() <= MOST_TOKENS else []), counts], 1).float()


PATCHES = "patches"
Learners = dict[str, Callable[[], Any]]


def classifiers(inputs: Inputs) -> Learners:
    """Learners of classes, by name: the constant, a linear one, neighbours, and one for what is not linear.

    >>> list(classifiers(Inputs(np.zeros((5, 64)), (1, 8, 8))))[1:]
    ['logistic regression', 'nearest neighbours', 'patches and logistic regression']
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cautious = partial(LogisticRegression, C=0.01, max_iter=100)
    plain = cautious if inputs.wide else partial(LogisticRegression, C=0.3, max_iter=300)
    learners: Learners = {
        CONSTANT: lambda: DummyClassifier(strategy="prior"),
        "logistic regression": lambda: make_pipeline(StandardScaler(), plain()),
        "nearest neighbours": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(7, weights="distance")),
    }
    if inputs.images:
        return learners | {f"{PATCHES} and logistic regression": lambda: make_pipeline(StandardScaler(), cautious())}
    if inputs.wide:
        kernel = partial(LogisticRegression, C=30, max_iter=300)
        return learners | {"kernel logistic regression": lambda: make_pipeline(*_kernel(inputs), kernel())}
    return learners | {"boosted trees": lambda: HistGradientBoostingClassifier(max_iter=40, random_state=0)}


def regressors(inputs: Inputs) -> Learners:
    """Learners of numbers, by name.

    >>> list(regressors(Inputs(np.zeros((5, 3)), (3,))))[1:]
    ['ridge regression', 'nearest neighbours', 'boosted trees']
    """
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ridge = partial(RidgeCV, np.logspace(-2, 3, 6))
    learners: Learners = {
        CONSTANT: lambda: DummyRegressor(strategy="mean"),
        "ridge regression": lambda: make_pipeline(StandardScaler(), ridge()),
        "nearest neighbours": lambda: make_pipeline(StandardScaler(), KNeighborsRegressor(15)),
    }
    if inputs.images:
        return learners | {f"{PATCHES} and ridge regression": lambda: make_pipeline(StandardScaler(), ridge())}
    if inputs.wide:
        return learners | {"kernel ridge regression": lambda: make_pipeline(*_kernel(inputs), ridge())}
    trees = partial(HistGradientBoostingRegressor, max_iter=60, learning_rate=0.07, random_state=0)
    return learners | {"boosted trees": lambda: MultiOutputRegressor(trees())}


def _kernel(inputs: Inputs) -> Iterator[Any]:
    """Steps before a linear learner that make it a kernel machine (Williams & Seeger, the Nystroem method, 2001)."""
    from sklearn.decomposition import PCA
    from sklearn.kernel_approximation import Nystroem
    from sklearn.preprocessing import StandardScaler

    examples, features = inputs.rows.shape
    most = examples * (FOLDS - 1) // FOLDS
    yield StandardScaler()
    yield PCA(min(DIRECTIONS, most, features), random_state=0)
    yield Nystroem(gamma=0.5 / features, n_components=min(LANDMARKS, most), random_state=0)


def out_of_fold(
    build: Callable[[], Any],
    x: np.ndarray,
    y: Tensor,
    seed: int,
    owner: np.ndarray | None = None,
    share: float = 1.0,
) -> Tensor | None:
    """What a learner says of examples that it did not see: log-probabilities of classes, numbers of the target's shape.

    Rows of one `owner` stay in one fold; a learner is fitted to a `share` of the others. None where some fold's
    training part has one class alone.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GroupKFold, KFold

    classify = not y.is_floating_point()
    folds: Any = KFold(FOLDS, shuffle=True, random_state=seed)
    if owner is not None:
        folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    targets = y.numpy() if classify else flat(y).double().numpy()
    classes = int(y.max()) + 1 if classify else targets.shape[1]
    output = np.full((len(x), classes), SMOOTHING / classes if classify else 0.0)
    for train, held_out in folds.split(x, groups=owner):
        check_time()
        train = train if share == 1 else np.random.default_rng(seed).permutation(train)[: round(share * len(train))]
        if classify and len(np.unique(targets[train])) < 2:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a reference need not be at its best
            learner = _fitting(build(), len(train)).fit(x[train], targets[train])
        if classify:
            probability = learner.predict_proba(x[held_out])
            output[np.ix_(held_out, learner.classes_)] += (1 - SMOOTHING) * probability
        else:
            output[held_out] = learner.predict(x[held_out]).reshape(len(held_out), -1)
    if classify:
        return torch.from_numpy(np.log(output)).float()
    return torch.from_numpy(output).to(y.dtype).reshape(y.shape)


def _fitting(learner: Any, examples: int) -> Any:
    """A learner that asks for no more neighbours, directions or landmarks than there are examples."""
    for key, value in learner.get_params().items():
        if key.endswith(("n_neighbors", "n_components")) and isinstance(value, int) and value > examples:
            learner.set_params(**{key: examples})
    return learner


def flat(values: Tensor) -> Tensor:
    """A row for each example."""
    return values.reshape(len(values), -1)
