"""Sentences of English (UD EWT) to the brackets of their dependencies: trees, how many, and how right they are.

The heads of CoNLL-U become brackets (`thalweg.data.dependency_brackets`), and `thalweg.load` trains its default for
trees on all sentences, or on those of at most so many words, with all of dev for the test. Then dev is decoded:
greedily and by a beam, repaired and held to trees, and scored by length beside trees that branch to one side. The data
lie in the folder ewt of the one that the variable THALWEG_DATA names.
"""

import argparse
import os
import sys
from pathlib import Path
from time import process_time

import pandas as pd
import torch
from machine import machine

import thalweg
from thalweg.data import PairSource
from thalweg.data.bracketed import tree_flaw, tree_tokens
from thalweg.data.dependency_brackets import bracketed_sentences
from thalweg.recipes.decoded import Decoding, decoded
from thalweg.recipes.output_forms import form_scores

LENGTHS = ((1, 5), (6, 8), (9, 12), (13, 20), (21, 30), (31, 40), (41, 999))
"""Words of a sentence, from and to, that are scored apart."""
WAYS = {
    "repaired, greedily": Decoding(beam=1, constrained=False),
    "held, greedily": Decoding(beam=1),
    "repaired, beam of 5": Decoding(constrained=False),
    "held, beam of 5": Decoding(),
}
"""The last is how `thalweg predict` decodes."""


def sentences(folder: Path, part: str, words: int | None = None) -> pd.DataFrame:
    """The sentences of a part, or those with at most so many words, and their trees."""
    frame = bracketed_sentences(folder / f"en_ewt-ud-{part}.conllu.gz")
    return frame if words is None else frame[frame["sentence"].str.split().str.len() <= words]


def show(name: str, source: PairSource, places: list[int], texts: list[str], whole: float) -> None:
    """The scores of some outputs in a line, and whether all of them are trees."""
    valid = [tree_flaw(tree_tokens(texts[i]), len(source.sources[i].split())) is None for i in places]
    scores = form_scores([texts[i] for i in places], source, places)
    told = "  ".join(f"{key} {value:.3f} [{low:.3f}, {high:.3f}]" for key, (value, low, high) in scores.items())
    print(
        f"{name:<28} n {len(places):5}  trees before {whole:.3f}, after {sum(valid) / len(valid):.3f}  {told}",
        flush=True,
    )


def main() -> None:
    """Train, decode, and print the scores of all sentences of dev within the cut, and by their length."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--words", type=int, help="the longest sentence that is trained on; left out, all are")
    ask.add_argument("--set", action="append", default=[], help="a setting, as of thalweg train")
    ask.add_argument("--out", type=Path, default=Path("ewt-trees"), help="where the pairs and the run are written")
    said = ask.parse_args()
    if not os.environ.get("THALWEG_DATA"):
        sys.exit("THALWEG_DATA names no folder of real data. Set it to the one that holds ewt.")
    torch.set_num_threads(1)
    folder = Path(os.environ["THALWEG_DATA"]) / "ewt"
    said.out.mkdir(parents=True, exist_ok=True)
    for part, words in (("train", said.words), ("dev", None)):
        sentences(folder, part, words).to_csv(said.out / f"{part}.tsv", sep="\t", index=False, quoting=3)
    trained = "all sentences" if said.words is None else f"sentences of at most {said.words} words"
    print(f"{machine()}; trained on {trained}", flush=True)
    data = {"output": "tree", "text": "sentence", "target": "tree", "validation_share": 0.05}
    data["test"] = str(said.out / "dev.tsv")
    started = process_time()
    recipe = thalweg.load(str(said.out / "train.tsv"), data=data, assignments=said.set)
    run = thalweg.train(recipe, out=said.out / "runs", device="cpu")
    print(f"{run}; {process_time() - started:.0f} s of processor time", flush=True)
    print("validation loss:", " ".join(f"{row['validation_loss']:.3f}" for row in run.history), flush=True)
    test = run.recipe.data.test
    every = list(range(len(test)))
    counts = [len(text.split()) for text in test.sources]
    for name, decoding in WAYS.items():
        started = process_time()
        best = [several[0] for several in decoded(run.model, test, decoding)]
        texts = [one.text for one in best]
        show(name, test, every, texts, sum(one.whole for one in best) / len(best))
        print(f"{process_time() - started:.0f} s of processor time", flush=True)
    parts = {f"{low} to {high} words": [i for i in every if low <= counts[i] <= high] for low, high in LENGTHS}
    known = {*run.recipe.data.train.sources, *run.recipe.data.validation.sources}
    parts["no sentence of train"] = [i for i in every if test.sources[i] not in known]
    if said.words is not None:
        parts[f"up to {said.words} words"] = [i for i in every if counts[i] <= said.words]
        parts[f"beyond {said.words} words"] = [i for i in every if counts[i] > said.words]
    for name, places in parts.items():
        if places:
            show(name, test, places, texts, sum(best[i].whole for i in places) / len(places))


if __name__ == "__main__":
    main()
