"""What the names in a report mean, for a reader who meets them for the first time."""

from collections.abc import Iterable

TERMS: dict[str, str] = {
    "loss": "What training makes small, averaged over the rows; lower is better.",
    "accuracy": "The share of rows whose likeliest class is the true one.",
    "balanced_accuracy": "The share of each class's rows that is found, averaged over classes: rare ones count alike.",
    "f1": "For each class the harmonic mean of precision and recall, averaged over the classes.",
    "auc": "How often a row of a class is given more of it than a row of another; 0.5 is guessing, 1 is perfect.",
    "mae": "The mean absolute error, in the target's own unit.",
    "rmse": "The root of the mean squared error, in the target's own unit; large errors count more.",
    "exact_match": "The share of sources whose output is, unit for unit, one of their targets.",
    "character_error": "Characters to change, leave out or add until an output is its target, of those of the target.",
    "word_error": "Words to change, leave out or add until an output is its target, of those of the target; or sounds.",
    "bleu": "How many runs of one to four words outputs share with their targets, 0 to 100 (sacrebleu).",
    "chrf": "Runs of one to six characters that outputs and targets share, 0 to 100; what is missing counts twice.",
    "reward": "What the model was trained for, the mean over the likeliest outputs; 1 is the most, larger is better.",
    "reward_before": "The reward of the weights that the training for it began with.",
    "bracket_f1": "Of brackets, label and words, the harmonic mean of precision and recall, over all sentences.",
    "bracket_precision": "The share of the brackets that were put out that are wanted.",
    "bracket_recall": "The share of the brackets that are wanted that were put out.",
    "unlabelled_f1": "The F1 of brackets whatever their labels.",
    "right_branching_f1": "The same of trees in which each word stands beside all that come after it: to be beaten.",
    "left_branching_f1": "The same of trees in which each word stands beside all that came before it.",
    "micro_f1": "The harmonic mean of precision and recall over all labels of all sources.",
    "macro_f1": "The same of each label, averaged over labels: rare ones count alike.",
    "jaccard": "Of the labels that are wanted or put out, the share that is both, averaged over sources.",
    "hamming_loss": "The share of all decisions, a label or not, that are wrong; lower is better.",
    "r2": "The share of the target's variance that is explained; 0 is no better than its mean, 1 is perfect.",
}
"""A quantity of evaluation.json -> what it is."""

INTERVAL = (
    "In brackets: the 95 % interval, from drawing the rows anew, or the groups and sentences that they come in; two "
    "splits whose intervals overlap may be alike."
)


OF_OUTPUTS = ("word_error", "character_error", "bracket_f1", "micro_f1")
"""What tells most of outputs that are put out whole: the first to show, and their accuracy is that of tokens."""
OF_TOKENS = "The share of tokens, each END too, that are the likeliest after the true ones before them."
"""What accuracy is of texts."""


def explained(names: Iterable[str]) -> list[tuple[str, str]]:
    """The terms among these names; `mae_price`, the metric of one target, is explained as `mae`.

    >>> [name for name, _ in explained(["loss", "mae", "mae_price", "own_metric"])]
    ['loss', 'mae']
    """
    known = dict.fromkeys(name if name in TERMS else name.partition("_")[0] for name in names)
    terms = TERMS | ({"accuracy": OF_TOKENS} if any(name in known for name in OF_OUTPUTS) else {})
    return [(name, terms[name]) for name in known if name in terms]
