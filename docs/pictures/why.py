"""The pictures and the numbers of docs/why-is-my-loss-not-going-down.md, from the bundled cases as they run.

`python docs/pictures/why.py` takes about five minutes of one core and writes `docs/pictures/why/`: the pictures, and in
`said.txt` what each diagnosis and each proof said, which the page quotes (tests/test_why.py). With names of pictures or
of cases behind it, `python docs/pictures/why.py tree parity`, it does these alone.
"""

import io
import math
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import nn

import thalweg
from thalweg.cases import CASES
from thalweg.cases.catalogue import plain
from thalweg.diagnosis import Finding
from thalweg.diagnosis.finding import Arm, Score
from thalweg.nn import mlp
from thalweg.report import learning_curves
from thalweg.report.drawing import PALETTE, STYLE, plain_ticks

FOLDER = Path(__file__).parent / "why"
WIDTH = 420
HUES = {"floor": PALETTE["good"], **{name: PALETTE[name] for name in ("train", "validation", "test")}}
Parts = list[tuple[np.ndarray, np.ndarray]]


def parts() -> Parts:
    """The digits of the cases: train, validation and test as arrays."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    first, rest, first_y, rest_y = train_test_split(x, y, test_size=0.4, random_state=0, stratify=y)
    second, third, second_y, third_y = train_test_split(rest, rest_y, test_size=0.5, random_state=0, stratify=rest_y)
    return [(first, first_y), (second, second_y), (third, third_y)]


def split(own: Parts) -> thalweg.Splits:
    train, validation, test = own
    return thalweg.Splits(train=train, validation=validation, test=test)


def refused() -> thalweg.Recipe:
    """One pixel that is not a number."""
    own = parts()
    own[0][0][3, 20] = np.nan
    return plain(data=split(own))


def twice() -> thalweg.Recipe:
    """A softmax in the model, and one in the loss."""
    return plain(model=lambda: nn.Sequential(mlp(64, 10, width=64, depth=2), nn.Softmax(1)))


def forgetful(model: nn.Module, optimizer: Any, batches: Iterable[Any], objective: Any) -> None:
    """A loop that averages weights the wrong way round: of each step it keeps a hundredth."""
    for x, y in batches:
        before = [weight.detach().clone() for weight in model.parameters()]
        optimizer.zero_grad()
        objective(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for weight, old in zip(model.parameters(), before, strict=True):
                weight.lerp_(old, 0.99)


def mislabelled() -> thalweg.Recipe:
    """Every fifth train label, drawn at random, replaced by another digit."""
    own, draw = parts(), np.random.default_rng(0)
    y = own[0][1]
    wrong = draw.random(len(y)) < 0.2
    y[wrong] = (y[wrong] + draw.integers(1, 10, wrong.sum())) % 10
    return plain(data=split(own))


def permuted() -> thalweg.Recipe:
    """Inputs and labels of all splits that do not belong together."""
    draw = np.random.default_rng(0)
    return plain(data=split([(x, draw.permutation(y)) for x, y in parts()]))


def judged_by(few: int) -> thalweg.Recipe:
    """The healthy recipe with `few` validation examples."""
    own = parts()
    own[1] = (own[1][0][:few], own[1][1][:few])
    return plain(data=split(own))


def leaked(share: float) -> thalweg.Recipe:
    """Sixty train examples, of which copies make up a share of the validation examples."""
    own = parts()
    own[0] = (own[0][0][:60], own[0][1][:60])
    copies = np.arange(int(share * len(own[1][1]))) % 60
    own[1] = tuple(
        np.concatenate([judge[len(copies) :], seen[copies]]) for judge, seen in zip(own[1], own[0], strict=True)
    )
    return plain(data=split(own), batch_size=10, epochs=80)


def parity() -> thalweg.Recipe:
    """Whether five of sixteen bits sum to an odd number: no reference learner sees it."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 2, (1800, 16)).astype(np.float32)
    y = (x[:, :5].sum(1) % 2).astype(np.int64)
    own = [(x[start:end], y[start:end]) for start, end in ((0, 1080), (1080, 1440), (1440, 1800))]
    return plain(data=split(own), model=partial(mlp, 16, 2, width=64, depth=2))


SUBJECTS: dict[str, Callable[[], thalweg.Recipe]] = {
    **{name: case.make for name, case in CASES.items()},
    "refused": refused,
    "softmax-twice": twice,
    "forgetful-loop": lambda: plain(loop=forgetful),
    "wrong-labels": mislabelled,
    "permuted-labels": permuted,
    "parity": parity,
    "twenty-judges": partial(judged_by, 20),
    "forty-judges": partial(judged_by, 40),
    "leaked-5-percent": partial(leaked, 0.05),
    "leaked-30-percent": partial(leaked, 0.3),
    "ten-layers": lambda: plain(model=partial(mlp, 64, 10, width=64, depth=10)),
}
PROVED = ("too-small", "rate-too-low", "rate-too-high", "at-a-saddle", "too-few-examples", "shifted-test")
PROVED += ("softmax-twice", "forgetful-loop", "wrong-labels", "ten-layers")


@cache
def recipe(name: str) -> thalweg.Recipe:
    return SUBJECTS[name]()


@cache
def found(name: str) -> Finding:
    print(f"diagnosing {name}", file=sys.stderr)
    return thalweg.diagnose(recipe(name), device="cpu")


@cache
def run(name: str) -> thalweg.Run:
    return thalweg.train(recipe(name), device="cpu")


def judged(arm: Arm) -> str:
    return f"; on validation {Score(arm.validation)}" if math.isfinite(arm.validation) else ""


def said(name: str) -> str:
    """What a diagnosis said, as the command prints it, its arms, and the proof of its first remedy."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        print(found(name))
    lines = [line for line in printed.getvalue().rstrip().splitlines() if not line.startswith("Beside that")]
    for experiment in found(name).experiments:
        lines += [f"   {arm.name}: {arm.score}{judged(arm)}" for arm in (experiment.control, *experiment.arms)]
    if name in PROVED:
        proof = thalweg.prove(recipe(name), found(name).remedies[0], device="cpu")
        lines.append(f"Proof of {proof.remedy.name}: {proof.sentence}")
    return "\n".join(lines) + "\n"


def keep(own: dict[str, str]) -> None:
    """What was said now, in the place of what these cases said before."""
    file = FOLDER / "said.txt"
    before = re.split(r"^== (.+)\n", file.read_text(encoding="utf-8") if file.exists() else "", flags=re.MULTILINE)[1:]
    known = dict(zip(before[::2], before[1::2], strict=True)) | own
    file.write_text("".join(f"== {name}\n{known[name]}" for name in SUBJECTS if name in known), encoding="utf-8")


def rounded(tag: re.Match[str]) -> str:
    """A tag with three decimals; text between tags stays as it is."""
    return re.sub(r"(\.\d{3})\d+", r"\1", tag[0])


def save(name: str, figure: Figure, fonttype: str = "none") -> None:
    """Into an SVG without remarks and indents; "path" draws the letters, which no other font then moves."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": fonttype}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plainer = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)
    plainer = re.sub(r"<[^>]*>", rounded, re.sub(r"\s*\n\s*", "\n", plainer))
    (FOLDER / f"{name}.svg").write_text(plainer, encoding="utf-8")


def canvas(height: int, rows: int = 1, **more: Any) -> tuple[Figure, Any]:
    figure = framed(height)
    return figure, figure.subplots(rows, 1, **more)


def framed(height: int) -> Figure:
    """An empty figure, with room at its edges for letters that another font makes wider."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    figure.get_layout_engine().set(w_pad=8 / 72, h_pad=5 / 72)
    return figure


QUESTION, EXPERIMENT, VERDICT = (8, 262), (40, 276), (304, 412)
ROW, BOX = 56, 40
TREE: list[tuple[str, str, str, str, str]] = [
    ("question", "0", "Does it run?\nAre all numbers finite?", "DATA", "no"),
    ("question", "1", "Does the program compute\nwhat was meant?", "WIRING", "no"),
    ("question", "2", "Do inputs and labels\nsay what they should?", "DATA", "no"),
    ("question", "3", "Where is the loss lost?\nfloor, train, validation, test", "", ""),
    ("question", "4", "Is the train loss\nabove the floor?", "", "yes"),
    ("experiment", "4a", "Does the same size, trained\nbetter, come down to the floor?", "OPTIMIZATION", "yes"),
    ("experiment", "4b", "Does a bigger one, trained as\nwell, come down to the floor?", "MODEL_BIAS", "yes"),
    ("last", "", "", "8  UNDECIDED", "no"),
    ("question", "5", "Is the validation loss above\nfloor and train?", "", "yes"),
    ("experiment", "5a", "Is it above that of a part of\ntrain that was held out, too?", "MISMATCH", "yes"),
    ("experiment", "5b", "Does more data, a penalty or a\nsmaller network lower it?", "OVERFITTING", "yes"),
    ("last", "", "", "8  UNDECIDED", "no"),
    ("question", "6", "Is the test loss\nabove validation?", "MISMATCH", "yes"),
    ("end", "7", "Few examples, or no reference?", "8  UNDECIDED", "yes"),
    ("none", "", "", "NONE", "no"),
]
"""Kind, number, question, verdict, and the answer that leads to it."""


def box(ax: Any, left: float, right: float, y: float, text: str, edge: str, **more: Any) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = {"facecolor": PALETTE["paper"], "edgecolor": edge, "linewidth": 1.4} | more.pop("patch", {})
    ax.add_patch(
        FancyBboxPatch((left, y - BOX / 2), right - left, BOX, boxstyle="round,pad=0,rounding_size=6", **style)
    )
    ax.text((left + right) / 2, y, text, ha="center", va="center", linespacing=1.25, **more)


def arrow(ax: Any, points: list[tuple[float, float]], word: str = "", at: tuple[float, float] = (0, 0)) -> None:
    xs, ys = zip(*points, strict=True)
    ax.plot(xs[:-1], ys[:-1], color=PALETTE["soft"], linewidth=1.3, solid_capstyle="butt")
    tip = {"arrowstyle": "-|>", "color": PALETTE["soft"], "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", points[-1], points[-2], arrowprops=tip)
    if word:
        ax.text(*at, word, color=PALETTE["soft"], ha="center", va="center", fontsize=10.5)


def verdict_hue(verdict: str) -> str:
    names = {"NONE": "good", "8  UNDECIDED": "soft", "MISMATCH": "test", "OVERFITTING": "validation"}
    return PALETTE[names.get(verdict, "train" if "_" in verdict or verdict == "OPTIMIZATION" else "ink")]


def tree() -> None:
    """The tree: questions on the left in the order in which they are asked, experiments indented, verdicts right."""
    figure = Figure(figsize=(WIDTH / 72, (ROW * len(TREE) + 8) / 72))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(ROW * len(TREE) + 4, -4))
    ax.axis("off")
    kinds, spine, middle = [kind for kind, *_ in TREE], 24, 158
    for row, (kind, number, text, verdict, answer) in enumerate(TREE):
        y = ROW * (row + 0.5)
        left, right = EXPERIMENT if kind == "experiment" else QUESTION
        if text:
            patch = {"facecolor": "#eef3f6"} if kind == "experiment" else {}
            box(ax, left, right, y, text, PALETTE["soft"], fontsize=11, patch=patch)
            ax.text(left + 5, y - BOX / 2 + 4, number, fontsize=9.5, fontweight="bold", va="top", color=PALETTE["soft"])
        if verdict:
            hue = verdict_hue(verdict)
            box(
                ax,
                *VERDICT,
                y,
                verdict,
                hue,
                color=PALETTE["paper"],
                fontsize=10.5,
                fontweight="bold",
                patch={"facecolor": hue},
            )
        if kind in ("last", "none"):
            start = middle if kind == "last" else spine
            arrow(ax, [(start, y - ROW + BOX / 2), (start, y), (VERDICT[0], y)], answer, (290, y - 9))
        elif verdict:
            arrow(ax, [(right, y), (VERDICT[0], y)], answer, (290, y - 9))
        following = kinds[row + 1] if row + 1 < len(kinds) else ""
        if following == "experiment":
            word = "yes" if kind == "question" else "no"
            arrow(ax, [(middle, y + BOX / 2), (middle, y + ROW - BOX / 2)], word, (middle + 16, y + ROW / 2))
        if kind == "question":
            ahead = next(other for other in range(row + 1, len(TREE)) if kinds[other] in ("question", "end"))
            end = ROW * (ahead + 0.5) - BOX / 2
            word = "" if number == "3" else ("yes" if number in "012" else "no")
            arrow(
                ax,
                [(spine, y + BOX / 2), (spine, end)],
                word,
                (spine + 15, y + ROW / 2 if ahead == row + 1 else end - 8),
            )
    save("tree", figure, "path")


def lost() -> None:
    """Where the loss is lost in five cases: floor, train, validation and test with their intervals."""
    names = ("healthy", "too-small", "rate-too-low", "too-few-examples", "shifted-test")
    figure, ax = canvas(404)
    ticks, labels = [], []
    for group, name in enumerate(names):
        losses, top = found(name).losses, 5.6 * group
        ax.text(0.0, top - 0.15, f"{name}: {found(name).cause}", transform=ax.get_yaxis_transform(), va="center")
        for row, split_name in enumerate(HUES):
            score, y = losses[split_name], top + row + 0.9
            low = 0.02 if split_name == "floor" else max(score.low, 0.02)
            ax.plot([low, score.high], [y, y], color=HUES[split_name], linewidth=7 if split_name == "floor" else 2.5)
            if split_name != "floor":
                ax.plot([score.value], [y], "o", color=HUES[split_name], markersize=6)
            ticks.append(y)
            labels.append(split_name)
    ax.set_xscale("log")
    ax.set_xlim(0.02, 6)
    plain_ticks(ax.xaxis)
    ax.set_yticks(ticks, labels)
    ax.set_ylim(5.6 * len(names) - 0.7, -0.8)
    bare(ax, "loss (the floor: what reference learners reach, and below)")
    save("lost", figure)


def bare(ax: Any, quantity: str) -> None:
    ax.set_xlabel(quantity)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
    ax.grid(axis="x", color=PALETTE["rule"], linewidth=0.8)
    ax.set_axisbelow(True)


def arms(ax: Any, rows: list[tuple[str, float, str]], floor: float, quantity: str) -> None:
    """A row for each arm, its loss a dot; the floor is a band from the left."""
    low, high = min([floor, *(loss for _, loss, _ in rows)]), max(loss for _, loss, _ in rows)
    ax.axvspan(low / 1.6, floor, color=HUES["floor"], alpha=0.18, linewidth=0)
    for y, (_, loss, hue) in enumerate(rows):
        ax.plot([loss], [y], "o", color=hue, markersize=7)
    ax.set_xscale("log")
    ax.set_xlim(low / 1.6, high * 1.25)
    plain_ticks(ax.xaxis)
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    bare(ax, quantity)


def tried(name: str, number: int, hue: str) -> list[tuple[str, float, str]]:
    """The arms of an experiment on the recipe's seed, the control first and grey."""
    experiment = found(name).experiments[number]
    own = [arm for arm in experiment.arms if arm.seeds == experiment.control.seeds]
    control = (experiment.control.name, experiment.control.score.value, PALETTE["soft"])
    return [control, *((arm.name, arm.score.value, hue) for arm in own)]


def too_small() -> None:
    """Train losses of the same size trained better, and of a bigger one, beside the floor."""
    figure, ax = canvas(330)
    same, bigger = tried("too-small", 0, HUES["train"]), tried("too-small", 1, HUES["validation"])
    arms(ax, same + bigger[1:], found("too-small").losses["floor"].high, "train loss; green: at or below the floor")
    ax.axhline(len(same) - 0.5, color=PALETTE["soft"], linewidth=0.8, linestyle="--")
    save("arms", figure)


def rates() -> None:
    """Train loss by epoch at a rate too low, too high, at the rates that the arms found, and from zero weights."""
    figure, ax = canvas(280)
    shown = [("rate 0.00001", "rate-too-low", "-"), ("rate 0.3", "rate-too-high", "--")]
    for label, name, line in shown:
        history = run(name).history
        ax.plot(
            [row["epoch"] for row in history],
            [row["train_loss"] for row in history],
            line,
            label=label,
            color=HUES["train"],
        )
    for label, name, factor, line in (
        ("0.001", "rate-too-low", "x 100", "-"),
        ("0.03", "rate-too-high", "x 0.1", "--"),
    ):
        arm = next(a for a in found(name).experiments[0].arms if a.name.endswith(factor))
        history = thalweg.train(arm.recipe, device="cpu").history
        ax.plot(
            [row["epoch"] for row in history],
            [row["train_loss"] for row in history],
            line,
            label=f"rate {label}",
            color=HUES["validation"],
        )
    ax.axhspan(0.001, found("rate-too-low").losses["floor"].high, color=HUES["floor"], alpha=0.18, linewidth=0)
    ax.set_yscale("log")
    ax.set_ylim(0.005, 80)
    plain_ticks(ax.yaxis)
    ax.set(xlabel="epoch", ylabel="train loss; green: the floor")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=2, loc="upper right")
    save("rates", figure)


def saddle() -> None:
    """The arms where all weights begin at zero: no rate helps, new weights do."""
    figure, ax = canvas(300)
    rows = tried("at-a-saddle", 0, HUES["train"])
    arms(ax, rows, found("at-a-saddle").losses["floor"].high, "train loss; green: at or below the floor")
    save("saddle", figure)


def too_few() -> None:
    """The curves of sixty examples with the floor; below, the arms that restrain and feed."""
    figure = framed(440)
    top, bottom = (part.subplots() for part in figure.subfigures(2, 1, height_ratios=(3, 2)))
    own, finding = run("too-few-examples"), found("too-few-examples")
    top.axhspan(0.001, finding.losses["floor"].high, color=HUES["floor"], alpha=0.18, linewidth=0)
    learning_curves(list(own.history), top, own.best_epoch)
    top.set_ylim(0.015, 3)
    plain_ticks(top.yaxis)
    top.set_ylabel("loss; green: the floor")
    shown = [
        row
        for number in range(len(finding.experiments))
        for row in tried("too-few-examples", number, HUES["validation"])
    ]
    named = [(f"{name} (half judges)" if place >= 3 else name, *rest) for place, (name, *rest) in enumerate(shown)]
    arms(bottom, named, finding.losses["floor"].high, "validation loss; green: the floor")
    save("too-few", figure)


def doubted() -> None:
    """The five examples whose labels the finding doubts."""
    says = found("wrong-labels").flaws[0].says
    named = re.findall(r"(\d+) \(labelled (\d), rather (\d)\)", says)
    figure = framed(136)
    pixels = [np.asarray(parts()[0][0][int(number)]).reshape(8, 8) for number, _, _ in named]
    images(figure.subplots(1, len(named)), pixels, [f"{number}\nlabel {a}\nrather {b}" for number, a, b in named])
    save("wrong-labels", figure)


def images(axes: Any, pixels: list[np.ndarray], titles: list[str]) -> None:
    for ax, image, title in zip(axes, pixels, titles, strict=True):
        ax.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=10.5)
        ax.set(xticks=[], yticks=[])


def shifted() -> None:
    """Six test digits as train holds them and as test does; below, what they cost."""
    figure = framed(260)
    top, bottom = figure.subfigures(2, 1, height_ratios=(3, 2))
    clean = parts()[2][0][:6]
    shown = [image.reshape(8, 8) for image in (*clean, *(0.45 * clean + 0.4))]
    axes = top.subplots(2, 6)
    images(axes.ravel(), shown, [""] * 12)
    axes[0, 0].set_ylabel("as train")
    axes[1, 0].set_ylabel("test")
    ax, losses = bottom.subplots(), found("shifted-test").losses
    for y, name in enumerate(HUES):
        score = losses[name]
        low = 0.02 if name == "floor" else max(score.low, 0.02)
        ax.plot([low, score.high], [y, y], color=HUES[name], linewidth=7 if name == "floor" else 2.5)
        ax.plot([score.value], [y], "o" if name != "floor" else "", color=HUES[name])
    ax.set_xscale("log")
    ax.set_xlim(0.02, 6)
    plain_ticks(ax.xaxis)
    ax.set_yticks(range(4), list(HUES))
    ax.set_ylim(3.5, -0.5)
    bare(ax, "loss")
    save("shifted", figure)


def wired() -> None:
    """Train loss by epoch with a softmax too many, with a loop that forgets, and without either."""
    figure, ax = canvas(260)
    for name, label, hue in (
        ("forgetful-loop", "own loop that forgets", "test"),
        ("softmax-twice", "softmax twice", "validation"),
        ("healthy", "neither", "train"),
    ):
        history = run(name).history
        ax.plot(
            [row["epoch"] for row in history], [row["train_loss"] for row in history], label=label, color=PALETTE[hue]
        )
    ax.axhspan(0.001, found("healthy").losses["floor"].high, color=HUES["floor"], alpha=0.18, linewidth=0)
    ax.axhline(1.461, color=PALETTE["soft"], linewidth=0.9, linestyle="--")
    ax.text(30, 1.41, "1.46: the least after two softmaxes", va="top", ha="right", color=PALETTE["soft"])
    ax.set(xlabel="epoch", ylabel="train loss; green: the floor", ylim=(0, 2.4))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.3, 0.12))
    save("wiring", figure)


def judges() -> None:
    """The same network judged by 359, 40 and 20 validation examples."""
    figure, ax = canvas(170)
    names = {"healthy": 359, "forty-judges": 40, "twenty-judges": 20}
    floors = [found(name).losses["floor"].high for name in names]
    ax.axvspan(0, max(floors), color=HUES["floor"], alpha=0.18, linewidth=0)
    for y, name in enumerate(names):
        score = found(name).losses["validation"]
        ax.plot([score.low, score.high], [y, y], color=HUES["validation"], linewidth=2.5)
        ax.plot([score.value], [y], "o", color=HUES["validation"], markersize=7)
    ax.set_xlim(0, 1.05)
    ax.set_yticks(range(3), [f"{count} examples: {found(name).cause}" for name, count in names.items()])
    ax.set_ylim(2.5, -0.5)
    bare(ax, "validation loss; green: at or below the floor")
    save("judges", figure)


PICTURES: dict[str, Callable[[], None]] = {
    "tree": tree,
    "wiring": wired,
    "wrong-labels": doubted,
    "lost": lost,
    "arms": too_small,
    "rates": rates,
    "saddle": saddle,
    "too-few": too_few,
    "shifted": shifted,
    "judges": judges,
}


def main(names: list[str]) -> None:
    """The pictures and the cases of these names; without any, all of them."""
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    with rc_context(STYLE):
        for name in [name for name in PICTURES if name in names or not names]:
            PICTURES[name]()
    for name in [name for name in SUBJECTS if name in names or not names]:
        keep({name: said(name)})


if __name__ == "__main__":
    main(sys.argv[1:])
