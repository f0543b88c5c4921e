"""Words for numbers, sentences inside of others, and text as a notebook shows it."""

from html import escape


def counted(count: int, thing: str) -> str:
    """A number of things, thousands apart.

    >>> counted(1, "epoch"), counted(1200, "class"), counted(2, "category")
    ('1 epoch', '1,200 classes', '2 categories')
    """
    if count == 1:
        return f"1 {thing}"
    plural = f"{thing}es" if thing.endswith("s") else f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{count:,} {plural}"


def lowered(sentence: str) -> str:
    """A sentence as it stands inside of another one, with a small first letter, unless it is of a name such as L2.

    >>> lowered("The loss falls"), lowered("A penalty"), lowered("L2 penalty of 0.01"), lowered("SGD helps")
    ('the loss falls', 'a penalty', 'L2 penalty of 0.01', 'SGD helps')
    """
    named = sentence[1:2].isdigit() or sentence[1:2].isupper()
    return sentence if named else sentence[:1].lower() + sentence[1:]


def capitalized(sentence: str) -> str:
    """A sentence with a large first letter, the rest as it is.

    >>> capitalized("the loss of ResNet falls")
    'The loss of ResNet falls'
    """
    return sentence[:1].upper() + sentence[1:]


def preformatted(text: str) -> str:
    """A text of lines as HTML, which notebooks show as it is.

    >>> preformatted("train < test")
    '<pre style="white-space: pre-wrap">train &lt; test</pre>'
    """
    return f'<pre style="white-space: pre-wrap">{escape(text)}</pre>'
