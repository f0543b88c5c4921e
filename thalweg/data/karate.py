"""The karate club: 34 members, the friendships between them, and the club that each went to when theirs broke up.

Zachary, "An information flow model for conflict and fission in small groups", Journal of Anthropological Research 33,
1977; the graph on which Kipf & Welling (2017, appendix A) show what a graph network learns from very few labels.
"""

import io

from thalweg.core.notices import unsaid
from thalweg.core.source import Splits
from thalweg.data.graph_loading import load_graph

FRIENDS = """
1 2 3 4 5 6 7 8 10 11 12 13 17 19 21 31; 2 3 7 13 17 19 21 30; 3 7 8 9 13 27 28 32; 7 12 13; 6 10; 6 10 16; 16; ;
30 32 33; 33; ; ; ; 33; 32 33; 32 33; ; ; 32 33; 33; 32 33; ; 32 33; 25 27 29 32 33; 25 27 31; 31; 29 33; 33; 31 33;
32 33; 32 33; 32 33; 33;
"""
"""Of each member the friends of higher number."""
OFFICER = {9, 14, 15, 18, 20, 22, *range(23, 34)}
"""The members who went to the officer's club; the others went with Mr. Hi, who is number 0. The officer is 33."""


def karate() -> Splits:
    """The karate club: two members are trained on, the heads of the two clubs, and all others are judged.

    Each member is an input of its own, and there is no validation split: two labels leave nothing to choose by.

    >>> splits = karate()
    >>> splits.train.meta([0, 1])["label"].tolist(), splits.validation
    (['Mr. Hi', 'Officer'], None)
    """
    names = ["Officer" if member in OFFICER else "Mr. Hi" for member in range(34)]
    nodes = [f"{i},{name},{'train' if i in (0, 33) else 'test'}" for i, name in enumerate(names)]
    friends = [(i, other) for i, others in enumerate(FRIENDS.split(";")) for other in others.split()]
    edges = "\n".join(f"{one},{other}" for one, other in friends)
    with unsaid():
        return load_graph(io.StringIO("\n".join(["member,club,split", *nodes])), io.StringIO(edges), target="club")
