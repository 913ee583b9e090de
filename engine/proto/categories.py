"""A word that a model's string input takes: encoders refuse those that they do not know."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import AttributeProto, NodeProto

# Attributes of OneHotEncoder and CategoryMapper, LabelEncoder, and TfIdfVectorizer that list words.
_WORDS = ("cats_strings", "keys_strings", "pool_strings")


def category(nodes: Iterable[NodeProto], name: str) -> str:
    """The first word that an encoder behind the input `name` knows, "a" where there is none.

    Behind one input may be encoders of several columns: a word that all of them know is taken, if there is one.
    """
    reached = {name}
    lists: list[list[str]] = []
    for node in nodes:
        if not reached.intersection(node.input):
            continue
        words = [text.decode("utf-8", "replace") for a in node.attribute if _lists_words(a) for text in a.strings]
        if words:
            lists.append(words)
        else:
            reached.update(node.output)
    shared = [word for word in (lists[0] if lists else []) if all(word in words for words in lists)]
    return next(iter(shared or (lists[0] if lists else [])), "a")


def _lists_words(attribute: AttributeProto) -> bool:
    return attribute.name in _WORDS and attribute.type == AttributeProto.STRINGS
