"""Learning curves: the loss of every epoch, in training and on validation."""

from typing import TYPE_CHECKING, Any

from thalweg.report.drawing import PALETTE, STYLE, axes, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (6, 3.6)


def learning_curves(history: list[dict[str, Any]], ax: "Axes | None" = None, best_epoch: int | None = None) -> "Axes":
    """Train and validation loss by epoch, the best epoch marked; draws on `ax` and returns it.

    The axis is logarithmic where the losses are positive and span a factor of more than 4.

    The train loss is the running mean in training mode, so that it lags: each epoch's value is the mean over weights
    that were still changing.

    >>> rows = [{"epoch": e, "train_loss": 1 / e, "validation_loss": 1.1 / e} for e in (1, 2, 3)]
    >>> learning_curves(rows, best_epoch=3).get_xlabel()
    'epoch'
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator

    ax = axes(ax)
    epochs = [row["epoch"] for row in history]
    curves = {name: [row[f"{name}_loss"] for row in history] for name in ("train", "validation")}
    curves = {name: losses for name, losses in curves.items() if any(loss is not None for loss in losses)}
    for name, losses in curves.items():
        shown = [float("nan") if loss is None else loss for loss in losses]
        ax.plot(epochs, shown, color=PALETTE[name], label=name, marker="o" if len(epochs) == 1 else None)
    finite = [loss for losses in curves.values() for loss in losses if loss is not None and loss == loss]
    if finite and min(finite) > 0 and max(finite) > 4 * min(finite):
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
    if best_epoch:
        ax.axvline(best_epoch, color=PALETTE["soft"], linewidth=0.8, linestyle="--", label=f"best epoch {best_epoch}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True) if len(epochs) > 1 else FixedLocator(epochs))
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def reward_curves(history: list[dict[str, Any]], ax: "Axes | None" = None, best_epoch: int | None = None) -> "Axes":
    """The reward by epoch, of what was drawn from train and of the likeliest outputs for validation.

    Rows have "reward", by "train" (None where it is not told apart from a likelihood) and "validation".

    >>> rows = [{"epoch": e, "reward": {"train": None, "validation": 0.5 + e / 9}} for e in (1, 2, 3)]
    >>> reward_curves(rows, best_epoch=3).get_ylabel()
    'reward'
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator

    ax = axes(ax)
    epochs = [row["epoch"] for row in history]
    for split, of in (("train", "train, drawn"), ("validation", "validation, likeliest")):
        values = [row["reward"][split] for row in history]
        if any(value is not None for value in values):
            shown = [float("nan") if value is None else value for value in values]
            ax.plot(epochs, shown, color=PALETTE[split], label=of, marker="o" if len(epochs) == 1 else None)
    if best_epoch:
        ax.axvline(best_epoch, color=PALETTE["soft"], linewidth=0.8, linestyle="--", label=f"best epoch {best_epoch}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True) if len(epochs) > 1 else FixedLocator(epochs))
    ax.set(xlabel="epoch", ylabel="reward")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return ax


def curves_image(history: list[dict[str, Any]], best_epoch: int | None = None, form: str = "svg") -> bytes:
    """The learning curves as the bytes of a picture, "svg" or "png".

    >>> curves_image([{"epoch": 1, "train_loss": 1.0, "validation_loss": None}])[:5]
    b'<?xml'
    """
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        learning_curves(history, figure.subplots(), best_epoch)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
    return buffer.getvalue()
