"""The registry of metrics: what every metric says of itself, and what is refused."""

from __future__ import annotations

import pytest

from onnxray.engine.errors import MethodError, UnknownName
from onnxray.engine.evaluate.registry import (
    FAMILIES,
    USUAL,
    USUAL_WITH_MASKS,
    chosen,
    find,
    help_of,
    make,
    metrics,
    options_of,
    with_options,
)


@pytest.mark.parametrize("name", metrics())
def test_every_metric_says_what_it_is(name: str) -> None:
    cls = metrics()[name]
    assert cls.name == name
    assert cls.family in FAMILIES
    assert help_of(cls).endswith((".", ":"))
    assert all(option.help.endswith(".") for option in options_of(cls))
    assert cls.range
    assert any(year in cls.paper for year in map(str, range(1979, 2027)))
    assert cls.weakness[0].islower()
    assert not cls.weakness.endswith(".")


def test_names_options_and_families() -> None:
    assert find("Region_Perturbation").name == "region-perturbation"
    assert make("insertion", {"step": 5}).options()["step"] == 5
    assert [m.name for m in chosen("complexity", False)] == ["effective-share", "entropy", "sparseness"]
    assert [m.name for m in chosen(None, False)] == list(USUAL)
    assert [m.name for m in chosen(None, True)] == [*USUAL, *USUAL_WITH_MASKS]
    with pytest.raises(UnknownName, match="nearest: 'insertion'"):
        find("insertoin")
    with pytest.raises(UnknownName, match="'step'"):
        make("insertion", {"stpe": 5})
    with pytest.raises(MethodError, match="at least 1"):
        make("insertion", {"step": 0})
    with pytest.raises(MethodError, match="need the pixels of the object"):
        chosen("iou", False)
    with pytest.raises(MethodError, match="no metric is named"):
        chosen(" , ", False)


def test_options_as_texts() -> None:
    made = [make("insertion"), make("deletion"), make("road"), make("sparseness")]
    found = {m.name: m.options() for m in with_options(made, ["step=7", "deletion:fill=mean", "road:shares=0.1,0.5"])}
    assert (found["insertion"]["step"], found["deletion"]["step"]) == (7, 7)
    assert (found["insertion"]["fill"], found["deletion"]["fill"]) == ("rise-blur", "mean")
    assert found["road"]["shares"] == (0.1, 0.5)
    assert with_options(made, []) == made
    for text, error in [
        ("step", MethodError),
        ("step=many", MethodError),
        ("road:shares=a,b", MethodError),
        ("stpe=3", UnknownName),
        ("sparseness:step=3", UnknownName),
        ("rode:shares=0.1", UnknownName),
        ("iou:threshold=0.1", UnknownName),
    ]:
        with pytest.raises(error):
            with_options(made, [text])
