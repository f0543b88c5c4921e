"""How good the trained model is: learning curves, scores, classes or residuals, calibration, the worst examples."""

from dataclasses import replace
from typing import Any

from thalweg.report.blocks import Beside, Facts, Folded, Picture, Prose, Section, Table, picture
from thalweg.report.curves import learning_curves, reward_curves
from thalweg.report.decoded_texts import signatures
from thalweg.report.evidence import Evidence, mapping, texts
from thalweg.report.images import gallery, gallery_height, image_columns
from thalweg.report.outcomes import (
    Guess,
    Residual,
    class_names,
    confidence_bins,
    counts,
    decimal,
    read_guesses,
    read_residuals,
    read_rows,
    read_soft_guesses,
)
from thalweg.report.photos import photo_gallery, read_photos
from thalweg.report.prediction_charts import (
    MOST_NUMBERED,
    MOST_POINTS,
    confusion_matrix,
    reliability_diagram,
    residual_plot,
)
from thalweg.report.terms import INTERVAL, explained
from thalweg.report.wording import clean, interval, number, quantity, row_digits, spoken

WORST, MISTAKES, MOST_TARGETS, MOST_COLUMNS = 10, 8, 4, 24
"""Rows of worst examples, of pairs of classes; targets that get a plot; columns of the table that are shown."""
SOFT = "Each row has a share of every class; the largest one counts as its true class here."
UNKEPT = (
    "No predictions are kept beside this run, as they are for classes and numbers; so there is no page of these, of "
    "calibration, or of the worst examples."
)


def curves(evidence: Evidence) -> Section:
    """Loss by epoch, and what can be read off it."""
    history = [row | {key: _loss(row, key) for key in ("train_loss", "validation_loss")} for row in evidence.history]
    history = [row | {"epoch": place} for place, row in enumerate(history, 1)]
    if all(row[key] is None for row in history for key in ("train_loss", "validation_loss")):
        return Section("curves", "Learning curves")
    found = number(evidence.run.get("best_epoch"))
    best = int(found) if 0 < found <= len(history) else None
    if (rewards := _rewards(evidence)) is not None:
        rewarded = [row | {"reward": reward} for row, reward in zip(history, rewards, strict=True)]
        return _reward_section(rewarded, best, str(_objective(evidence)["reward"]))
    chart = picture(lambda ax: learning_curves(history, ax, best), "loss by epoch", 270)
    rows = [
        [name, quantity(row["train_loss"]), quantity(row["validation_loss"])] for name, row in _marks(history, best)
    ]
    note = "The train loss of an epoch is the mean over weights that were still changing, so that it lags a little."
    return Section(
        "curves",
        "Learning curves",
        [Beside([chart], [Table(["loss", "train", "validation"], rows), Prose(note, True)])],
    )


def _marks(history: list[dict[str, Any]], best: int | None) -> list[tuple[str, dict[str, Any]]]:
    """The first, the best and the last epoch."""
    best_row = [(f"best epoch ({best})", history[best - 1])] if best else []
    return [("first epoch", history[0]), *best_row, ("last epoch", history[-1])]


def _objective(evidence: Evidence) -> dict[str, Any]:
    """What [objective] said."""
    return mapping(mapping(mapping(evidence.recipe.get("origin")).get("settings")).get("objective"))


def _rewards(evidence: Evidence) -> list[dict[str, float | None]] | None:
    """The reward of each epoch, where one was trained for; on train 1 minus the loss, if that is of it alone."""
    if _objective(evidence).get("reward") is None:
        return None
    alone = not number(_objective(evidence).get("likelihood_weight", 0))
    found: list[dict[str, float | None]] = []
    for row in evidence.history:
        loss = _loss(row, "train_loss")
        drawn = None if loss is None or not alone else 1 - loss
        found.append({"train": drawn, "validation": _loss(mapping(row.get("metrics")), "reward")})
    return found


def _reward_section(history: list[dict[str, Any]], best: int | None, reward: str) -> Section:
    """The course of a reward, and beside it that of the likelihood, which is judged and not trained."""
    charts = [
        picture(lambda ax: reward_curves(history, ax, best), "reward by epoch", 270),
        picture(lambda ax: learning_curves([row | {"train_loss": None} for row in history], ax, best),
                "likelihood on validation by epoch", 270),
    ]  # fmt: skip
    rows = [
        [name, quantity(row["reward"]["train"]), quantity(row["reward"]["validation"]),
         quantity(row["train_loss"]), quantity(row["validation_loss"])]
        for name, row in _marks(history, best)
    ]  # fmt: skip
    head = ["", "reward, drawn from train", "reward, validation", "trained loss", "likelihood, validation"]
    note = (
        f"Trained for the reward '{clean(reward, 60)}': what is made small is 1 - reward of what is drawn, and a share "
        "of the likelihood where the recipe says so. The best epoch is that of the largest reward of the likeliest "
        "outputs for validation. The likelihood, in nats a token, is lower where it is better; it may get worse."
    )
    return Section("curves", "Reward by epoch", [Beside(charts, [Table(head, rows), Prose(note, True)])])


def _loss(row: dict[str, Any], key: str) -> float | None:
    value = number(row.get(key))
    return None if value != value else value


def scores(evidence: Evidence) -> Section:
    """Every quantity on every split, with its interval."""
    found = evidence.scores
    names = list(dict.fromkeys(name for split in found.values() for name in split))
    rows = []
    for name in names:
        decimals = row_digits([split[name] for split in found.values() if name in split])
        shown = (interval(split.get(name, {}), decimals=decimals) for split in found.values())
        rows.append([spoken(name), *shown])
    lead = "With 95 % intervals. The splits that were not trained on are the ones that count."
    if not rows:
        return Section("scores", "Scores")
    terms = Facts([(spoken(name), text) for name, text in explained(names)])
    blocks = [
        Table(["score", *found], rows),
        Folded("What these mean", [terms, *signatures(evidence), Prose(INTERVAL, quiet=True)]),
    ]
    return Section("scores", "Scores", [*blocks, *([] if _split(evidence) else [Prose(UNKEPT, quiet=True)])], lead)


def predictions(evidence: Evidence) -> list[Section]:
    """The sections that need predictions: of the test split, or where there is none of the validation split."""
    split, kind = _split(evidence), evidence.target.get("kind")
    if split is None or kind not in ("classes", "soft classes", "numbers"):
        return []
    if kind == "numbers":
        by_name = read_residuals(evidence.predictions(split), evidence.target)
        return [_residuals(by_name, split), _worst_residuals(evidence, by_name, split)]
    if kind == "soft classes":
        guesses = read_soft_guesses(evidence.predictions(split), evidence.target)
        return [_classes(evidence, guesses, split, SOFT), _worst_guesses(evidence, guesses, split)]
    guesses = read_guesses(evidence.predictions(split), evidence.target)
    return [
        _classes(evidence, guesses, split),
        _calibration(evidence, guesses, split),
        _worst_guesses(evidence, guesses, split),
    ]


def _split(evidence: Evidence) -> str | None:
    return next((name for name in ("test", "validation") if evidence.predictions(name).exists()), None)


def _classes(evidence: Evidence, guesses: list[Guess], split: str, note: str = "") -> Section:
    if not guesses:
        return Section("classes", "Classes")
    names = class_names(evidence.target, guesses)
    matrix = counts(guesses, names)
    size = 380 if len(names) <= 6 else 430
    chart = picture(lambda ax: confusion_matrix(matrix, names, ax), "true and predicted classes", size)
    pairs = sorted(
        ((matrix[i][j], i, j) for i in range(len(names)) for j in range(len(names)) if i != j and matrix[i][j]),
        key=lambda pair: (-pair[0], pair[1:]),
    )
    rows = [
        [clean(names[i], 60), clean(names[j], 60), f"{count:,}", f"{count / sum(matrix[i]):.1%}"]
        for count, i, j in pairs[:MISTAKES]
    ]
    wrong = sum(count for count, _, _ in pairs)
    said = f"{wrong:,} of {len(guesses):,} rows of {split} are wrong" + (", most often these:" if rows else ".")
    right: list[Any] = [Prose(said)]
    right += [Table(["true", "predicted as", "rows", "of its class"], rows, plain=(0, 1))] if rows else []
    if len(names) > MOST_NUMBERED:
        right.append(Prose("The darker a cell, the larger the share of the true class.", quiet=True))
    right += [Prose(note, quiet=True)] if note else []
    each = Table(["class", "rows", "recall", "precision", "F1"], _each_class(matrix, names), plain=(0,))
    return Section(
        "classes", "Which classes are taken for which", [Beside([chart], right), Folded("Each class", [each])]
    )


def _each_class(matrix: list[list[int]], names: list[str]) -> list[list[str]]:
    """Of each class that has rows, or was predicted: its rows, the share that was found, the share that was right."""
    guessed = [sum(column) for column in zip(*matrix, strict=True)]
    rows = []
    for i, name in enumerate(names):
        hits, own = matrix[i][i], sum(matrix[i])
        if own or guessed[i]:
            shares = ((hits, own), (hits, guessed[i]), (2 * hits, own + guessed[i]))
            rows.append([clean(name, 60), f"{own:,}", *(f"{a / b:.3f}" if b else "–" for a, b in shares)])
    return rows


def _calibration(evidence: Evidence, guesses: list[Guess], split: str) -> Section:
    bins, found = confidence_bins(guesses), mapping(evidence.evaluation.get("calibration"))
    blocks: list[Any] = []
    if found:
        facts = [
            ("Calibration error (ECE)", quantity(found.get("error"), 3)),
            ("Temperature", f"{quantity(found.get('temperature'))}, from validation"),
            ("ECE with it", quantity(found.get("error_after"), 3)),
        ]
        blocks.append(Facts(facts))
    if bins:
        caption = f"On {split}: dots below the line are too sure of themselves; larger dots hold more rows."
        chart = picture(lambda ax: reliability_diagram(bins, ax), "share of hits by confidence", 380, caption)
        note = (
            "Of the rows predicted with 80 % confidence, 80 % should be right; ECE, the expected calibration error, is "
            "the mean distance from that."
        )
        heat = "Dividing the logits by a temperature above 1 makes it less sure, below 1 surer; no prediction changes."
        blocks = [Beside([chart], [*blocks, *(Prose(text, quiet=True) for text in (note, heat)[: 1 + bool(found)])])]
    return Section("calibration", "Is it as sure as it is right?", blocks)


def _worst_guesses(evidence: Evidence, guesses: list[Guess], split: str) -> Section:
    wrong = sorted((guess for guess in guesses if not guess.right), key=lambda guess: -_known(guess.probability, 0.0))
    chosen, title = wrong[:WORST], "The most confident mistakes"
    lead = f"Rows of {split} that are wrong, the surest first. A wrong label is often among them."
    if not wrong:
        chosen = sorted(guesses, key=lambda guess: _known(guess.probability, 1.0))[:WORST]
        title, lead = "The least sure predictions", f"No row of {split} is wrong; these were the least sure."
    first = {
        guess.row: [guess.truth, guess.predicted, f"{guess.probability:.1%}".replace("nan%", "–")] for guess in chosen
    }
    return Section("worst", title, _examples(evidence, split, ["true", "predicted", "confidence"], first), lead)


def _residuals(by_name: dict[str, list[Residual]], split: str) -> Section:
    blocks: list[Any] = []
    for name, residuals in list(by_name.items())[:MOST_TARGETS]:
        if residuals:
            blocks.append(_residual_picture(name, residuals, split))
    if len(blocks) == 1:
        note = "A shape in the cloud - a bend, a funnel - is something the model has not learned."
        (residuals,) = [found for found in by_name.values() if found][:1]
        sizes = sorted(abs(residual.size) for residual in residuals)
        facts = [
            ("Rows", f"{len(sizes):,}"),
            ("Half are off by less than", quantity(sizes[len(sizes) // 2])),
            ("Nine of ten by less than", quantity(sizes[min(len(sizes) - 1, len(sizes) * 9 // 10)])),
            ("The largest by", quantity(sizes[-1])),
        ]
        blocks = [Beside(blocks, [Facts(facts), Prose(note, quiet=True)])]
    elif blocks:
        blocks = [Beside(blocks[i : i + 1], blocks[i + 1 : i + 2], even=True) for i in range(0, len(blocks), 2)]
    return Section("residuals", "Residuals", blocks, f"What is left between truth and prediction, on {split}.")


def _residual_picture(name: str, residuals: list[Residual], split: str) -> Picture:
    shown = f" The largest and a sample of the rest, {MOST_POINTS:,} of {len(residuals):,} rows."
    caption = shown.strip() if len(residuals) > MOST_POINTS else ""
    return picture(lambda ax: residual_plot(residuals, name, ax), f"residuals of {name} on {split}", 300, caption)


def _worst_residuals(evidence: Evidence, by_name: dict[str, list[Residual]], split: str) -> Section:
    blocks: list[Any] = []
    for name, residuals in list(by_name.items())[:MOST_TARGETS]:
        chosen = sorted(residuals, key=lambda residual: -abs(residual.size))[:WORST]
        first = {r.row: [quantity(r.truth), quantity(r.predicted), quantity(r.size, sign=True)] for r in chosen}
        blocks += _examples(
            evidence, split, [f"true {name}" if len(by_name) > 1 else "true", "predicted", "residual"], first
        )
    return Section("worst", "The largest residuals", blocks, f"The rows of {split} that are farthest off.")


def _examples(evidence: Evidence, split: str, head: list[str], first: dict[int, list[str]]) -> list[Any]:
    """A table of rows of the data: what was predicted, then the columns as they stand in the file; images are drawn."""
    if not first:
        return []
    names, rows = read_rows(evidence.predictions(split), list(first))
    own = [i for i, name in enumerate(names) if not name.startswith(("prediction", "probability", "deviation"))]
    grid = image_columns([names[i] for i in own])
    known = set(texts(evidence.target.get("names")))
    drawn = {own[i] for line in grid for i in line}
    shown = [i for i in own if i not in drawn and names[i] not in known]
    cells = [
        [
            f"{place + 1:,}",
            *(clean(text, 60) for text in values),
            *(clean(rows[place][i], 60) for i in shown[:MOST_COLUMNS]),
        ]
        for place, values in first.items()
    ]
    columns = ["row", *head, *(clean(names[i], 40) for i in shown[:MOST_COLUMNS])]
    said = f"All {len(names):,} columns are in predictions/{split}.csv."
    words = (1, 2) if evidence.target.get("kind") in ("classes", "soft classes") else ()
    blocks = [Table(columns, cells, plain=words, marked=(1, 2, 3)), Prose(said, quiet=True)]
    if photos := read_photos(evidence.predictions(split).with_name(f"{split}-images.json"), list(first)):
        return [_photos(first, photos), *blocks]
    if not grid:
        return blocks
    places = [[own[i] for i in line] for line in grid]
    return [Beside([_gallery(first, rows, places)], blocks)]


def _gallery(first: dict[int, list[str]], rows: dict[int, list[str]], grid: list[list[int]]) -> Picture:
    images = [[[decimal(rows[place][i]) for i in line] for line in grid] for place in first]
    titles = [f"{truth} → {predicted}" for truth, predicted, *_ in first.values()]
    drawn = picture(lambda ax: gallery(images, titles, ax), "the rows as images", gallery_height(len(images)))
    return replace(drawn, caption="True class → predicted class.", inked=True)


def _photos(first: dict[int, list[str]], photos: list[Any]) -> Picture:
    titles = [f"{truth}\n→ {predicted}" for truth, predicted, *_ in first.values()]
    height = gallery_height(len(photos))
    return picture(
        lambda ax: photo_gallery(photos, titles, ax),
        "the images",
        height,
        "The true class or number, → the predicted one.",
    )


def _known(value: float, otherwise: float) -> float:
    return value if value == value else otherwise
