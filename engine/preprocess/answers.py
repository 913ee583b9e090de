"""What a model answers, with everything that is known of it: options, card files, other tools' files, labels."""

from __future__ import annotations

from ..caches import of_model
from ..errors import ModelError
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


@of_model
def labels_said(model: Model) -> tuple[str, ...] | None:
    """The names of the classes that the sources of a card say, of models without an image input as well; None where
    none does. Raises CardError."""
    for source in found_by_sources(model, dict(model.overrides), []):
        if source.fields.get("labels") is not None:
            return tuple(source.fields["labels"])
    return None


def predictable(model: Model) -> Answer:
    """The answer, if it is classes or numbers. Raises ModelError, and what `answer_of` raises."""
    answer = answer_of(model)
    if answer.has_classes or answer.kind == "number":
        return answer
    remedies = [f"explain one of its numbers with the target element:{answer.value}:INDEX,..."]
    if len(model.outputs) > 1:
        remedies.insert(0, "name another output with output=")
    if answer.axis >= 0:
        remedies.insert(0, "if it is, give answer=")
    raise ModelError(
        f"nothing to predict: the output {answer.output!r} is neither classes nor numbers ({answer.reason}); "
        + ", or ".join(remedies)
    )
