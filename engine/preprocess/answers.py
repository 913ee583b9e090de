"""What a model answers, with everything that is known of it: options, card files, other tools' files, labels."""

from __future__ import annotations

from ..caches import of_model
from ..graph.model import Model
from ..inspect.answer import Answer, find_answer
from .find import find_hints, found_by_sources


@of_model
def answer_of(model: Model) -> Answer:
    """What `model` answers; worked out once per model.

    Raises UnknownName for an output that does not exist, CardError for options or a card that make no sense, ModelError
    for a model without an output that can be read.
    """
    return find_answer(model, find_hints(model))


def labels_said(model: Model) -> tuple[str, ...] | None:
    """The names of the classes that the sources of a card say, of models without an image input as well; None where
    none does. Raises CardError."""
    for source in found_by_sources(model, dict(model.overrides), []):
        if source.fields.get("labels") is not None:
            return tuple(source.fields["labels"])
    return None
