"""Rules of the command line: the judge of --when and --memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import RuleError

if TYPE_CHECKING:
    from ...engine.graph.model import Model
    from ...engine.pipeline.judge import Judge
    from ...engine.preprocess.card import Card


def judge_of(model: Model, card: Card, when: str | None, memory: Path | None, runtime: Mapping[str, Any]) -> Judge:
    """The judge of --when and --memory, the expression checked. Raises what `engine.pipeline.judge.judge_of` raises."""
    from ...engine.pipeline import judge

    if when is None and memory is not None:
        raise RuleError("--memory has no effect without --when: give a rule such as --when 'novelty > 2.5'")
    return judge.judge_of(model, card.labels, when, memory, runtime)
