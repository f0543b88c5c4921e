"""Sentences of English (UD EWT) to the brackets of their dependencies: trees, how many, and how right they are.

The heads of CoNLL-U become brackets (`thalweg.data.dependency_brackets`), and `thalweg.load` trains its default for so
many pairs on sentences of at most so many words, with dev for the test. Then dev is decoded: greedily and by a beam,
repaired and held to trees. The data lie in the folder ewt of the one that the variable THALWEG_DATA names.
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

LENGTHS = ((1, 5), (6, 8), (9, 12), (13, 20))
"""Words of a sentence, from and to, that are scored apart."""
WAYS = {
    "repaired, greedily": Decoding(beam=1, constrained=False),
    "held, greedily": Decoding(beam=1),
    "repaired, beam of 5": Decoding(beam=5, length_penalty=1.0, constrained=False),
    "held, beam of 5": Decoding(beam=5, length_penalty=1.0),
    "held, beam of 5, by the sum": Decoding(beam=5, length_penalty=0.0),
}


def short(folder: Path, part: str, words: int) -> pd.DataFrame:
    """The sentences of a part with at most so many words, and their trees."""
    frame = bracketed_sentences(folder / f"en_ewt-ud-{part}.conllu.gz")
    return frame[frame["sentence"].str.split().str.len() <= words]


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
    ask.add_argument("--words", type=int, default=12, help="the longest sentence")
    ask.add_argument("--set", action="append", default=[], help="a setting, as of thalweg train")
    ask.add_argument("--out", type=Path, default=Path("ewt-trees"), help="where the pairs and the run are written")
    said = ask.parse_args()
    if not os.environ.get("THALWEG_DATA"):
        sys.exit("THALWEG_DATA names no folder of real data. Set it to the one that holds ewt.")
    torch.set_num_threads(1)
    folder = Path(os.environ["THALWEG_DATA"]) / "ewt"
    said.out.mkdir(parents=True, exist_ok=True)
    for part in ("train", "dev"):
        short(folder, part, said.words).to_csv(said.out / f"{part}.tsv", sep="\t", index=False, quoting=3)
    print(f"{machine()}; sentences of at most {said.words} words", flush=True)
    data = {"output": "tree", "text": "sentence", "target": "tree", "validation_share": 0.05}
    data["test"] = str(said.out / "dev.tsv")
    started = process_time()
    recipe = thalweg.load(str(said.out / "train.tsv"), data=data, assignments=said.set)
    run = thalweg.train(recipe, out=said.out / "runs", device="cpu")
    print(f"{run}; {process_time() - started:.0f} s of processor time", flush=True)
    test = run.recipe.data.test
    every = list(range(len(test)))
    counts = [len(text.split()) for text in test.sources]
    for name, decoding in WAYS.items():
        started = process_time()
        best = [several[0] for several in decoded(run.model, test, decoding)]
        texts = [one.text for one in best]
        show(name, test, every, texts, sum(one.whole for one in best) / len(best))
        print(f"{process_time() - started:.0f} s of processor time", flush=True)
    for low, high in LENGTHS:
        places = [i for i in every if low <= counts[i] <= high]
        if places:
            whole = sum(best[i].whole for i in places) / len(places)
            show(f"{low} to {high} words", test, places, texts, whole)


if __name__ == "__main__":
    main()
