"""Which scalar of a network is explained.

    Target.predicted()             the most probable class; `rank=2` the one after it
    Target.class_(5), "tabby"      a class by its index or its label
    Target.several([...])          several classes at once, as one batch; Target.top(3) the three most probable ones
    Target.each([3, "cat", ...])   one target for each sample of a batch, in their order
    Target.contrast("cat", "dog")  score of A minus score of B
    Target.probability("cat")      the probability instead of the logit; Target.logit(5) the score before a softmax
    Target.number()                the number that a model answers with: of a regression, an anomaly score
    Target.unit("conv3", 7)        a channel of a layer, its mean; `at=(y, x)` one unit; "strongest" finds either
    Target.element("boxes", (9,))  one number of any value; "max" along an axis takes the greatest, "mean" the mean
    Target.mean("depth")           the mean of any value, over a box where it is a map
    Target.mean_gradient()         the mean magnitude of a map's gradient: how much detail a network makes
    Target.point("left_knee")      the peak of a keypoint's heat map
    Target.region("cat", box=...)  a class of a dense output: its mean over a box, over a mask, or where it wins
    Target.like(array)             how similar the embedding is to another one; Target.unlike(a, b) more to a than to b
    Target.char(3)                 a character of the text that a recogniser reads
    Target.token(3)                a token that a language model says behind a prompt; token("she", against="he")
    Target.at_word("B-PER", "Ada") a class at a word of a text; Target.answer("start") the answer that a model marks
    Target.detection(2, "cat")     a box of a detector; Target.detections(3) the most certain ones
    Target.cotangent("v", array)   the sum of a value's elements times the array

Every score is linear in the value `of` that the target is resolved to: score(y) = sum(y * cotangent). Choices that
depend on the network's answer (the predicted class, the strongest unit) are made once, on the clean input.

As text, on the command line (`Target.parse`): the forms of the registry, listed in `docs/targets.md`; what is no form
is a class index or a label. `str()` of a target gives a text that parses back. The kinds stand in `kinds/`, one file
each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import TargetError
from . import registry
from .resolved import Place, Resolved

Which: TypeAlias = "int | str | Target | None"
STRONGEST = "strongest"
# Of one explanation: each is a map.
MOST_TARGETS = 100_000


@dataclass(frozen=True)
class Target:
    """Base of all forms; see the head of this file. `str()` gives the text that `Target.parse` reads."""

    def resolve(self, place: Place) -> Resolved:
        """The value, and the cotangent on it, that are this target in a model. Raises TargetError, UnknownName."""
        raise TypeError(f"{type(self).__name__} cannot be resolved")

    def terms(self, place: Place, count: int | None) -> list[list[tuple[int, float]]]:
        """For targets made of classes: per target, (class index, or -r for the r-th most probable; weight)."""
        raise TargetError(f"the target {self} is not a class: give classes here, by index or label")

    @property
    def class_index(self) -> int | None:
        """The index of the class, None where it is no single class, or one that is not looked up yet."""
        return None

    @property
    def of_classes(self) -> bool:
        """Whether it is made of class scores."""
        return False

    @property
    def of_answer(self) -> bool:
        """Whether it asks what the model's output holds, rather than naming a value."""
        return self.of_classes

    @property
    def at_token(self) -> bool:
        """Whether it stands at one place of a text, which another one is once words are cut out of the text."""
        return False

    @property
    def is_several(self) -> bool:
        """Whether it stands for more than one target of each sample."""
        return False

    @property
    def samples(self) -> int | None:
        """For how many samples it names one target each, None where it stands for any number of them."""
        return None

    @property
    def title(self) -> str:
        """What it is, for people."""
        return str(self)

    def on(self, value: str) -> Target:
        """The same question about another value of the same shape. Raises TargetError where it names no value."""
        raise TargetError(f"the target {self} names no value: logit: goes before a class, an element, a unit or a mean")

    def value_in(self, place: Place) -> str:
        """The value that it names. Raises TargetError where it names none, UnknownName."""
        raise TargetError(f"the target {self} names no value: logit: goes before a class, an element, a unit or a mean")

    def at_scale(self, scale: str) -> Target:
        """The same as a probability ("prob"), or before the softmax or sigmoid ("logit"). Raises TargetError."""
        if scale == "logit" and not self.of_classes:
            return registry.make("Logit", self)
        return registry.make("Scale", scale, self)

    def of_sample(self, sample: int) -> Target:
        """The target of one sample."""
        return self

    def check_samples(self, samples: int | None) -> None:
        """Raises TargetError where it names targets for another number of samples; None: there are no samples."""
        wanted = self.samples
        if wanted in (None, samples):
            return
        if samples is None:
            raise TargetError(
                f"the target {self} is one for each sample of a batch, and there are no samples: name one"
            )
        plural = "s are" if wanted != 1 else " is"
        raise TargetError(
            f"{wanted} target{plural} given for {samples} sample{'s' * (samples != 1)}: give one for each sample, or "
            "classes:A,B (Target.several) to explain all of every sample"
        )

    def opened(self, read: Callable[[str], NDArray[Any]]) -> Target:
        """The target with what its files hold; `read` makes an array of a picture's file."""
        return self

    @staticmethod
    def of(target: Which | Sequence[Any]) -> Target:
        """None, an int, a text, a Target or a list of them as a Target. Raises TargetError."""
        if target is None:
            return registry.make("Predicted")
        if isinstance(target, Target):
            return target
        if isinstance(target, str):
            return Target.parse(target)
        if isinstance(target, int | np.integer) and not isinstance(target, bool):
            return registry.make("Class", int(target))
        if isinstance(target, Sequence | np.ndarray) and len(target):
            return registry.make("Several", tuple(Target.of(t) for t in target))
        raise TargetError(
            f"a target is None (the predicted class), a class index, a label, a list or a Target, not {target!r}"
        )

    @staticmethod
    def parse(text: str) -> Target:
        """A target from its text; what is no other form is a label. Raises TargetError."""
        return registry.parse(text)

    @staticmethod
    def predicted(rank: int = 1) -> Target:
        """The most probable class; `rank=2` the one after it, and so on."""
        return registry.make("Predicted", rank)

    @staticmethod
    def top(k: int) -> Target:
        """The `k` most probable classes, one explanation each. Raises TargetError for k below 1."""
        if k < 1:
            raise TargetError(f"top:{k} names no class: ask for at least one")
        if k > MOST_TARGETS:
            raise TargetError(f"{k} classes at once are too many: ask for at most {MOST_TARGETS}")
        return registry.make("Several", tuple(Target.predicted(rank) for rank in range(1, k + 1)))

    @staticmethod
    def class_(which: int | str) -> Target:
        """A class by its index, or by its label."""
        return registry.make("Class", which)

    @staticmethod
    def several(classes: Sequence[Which]) -> Target:
        """Several targets, one explanation each."""
        return registry.make("Several", tuple(Target.of(c) for c in classes))

    @staticmethod
    def each(targets: Sequence[Which]) -> Target:
        """One target for each sample of a batch, in their order; they ask for the same value of the model."""
        return registry.make("Each", tuple(Target.of(t) for t in targets))

    @staticmethod
    def contrast(a: Which, b: Which) -> Target:
        """The score of `a` minus that of `b`."""
        return registry.make("Contrast", Target.of(a), Target.of(b))

    @staticmethod
    def probability(which: Which = None) -> Target:
        """The probability of a class in place of its logit."""
        return Target.of(which).at_scale("prob")

    @staticmethod
    def logit(which: Which = None) -> Target:
        """The score before the model's softmax or sigmoid."""
        return Target.of(which).at_scale("logit")

    @staticmethod
    def number(index: int | Sequence[int] | str | None = None, output: str | None = None) -> Target:
        """`index` where the output holds several numbers, or the name (a label) of one; `output` where there are
        several outputs."""
        found = (index,) if isinstance(index, int | str) else tuple(index or ())
        return registry.make("Value", found, output)

    @staticmethod
    def unit(layer: str, channel: int | str = STRONGEST, at: tuple[int, ...] | str | None = None) -> Target:
        """A channel of a layer, by default the strongest one: its mean, or with `at` one place (row, column)."""
        return registry.make("Unit", layer, channel, at)

    @staticmethod
    def element(value: str, index: Sequence[int | str] = ()) -> Target:
        """One number of any value: an index, "max" or "mean" for every axis after the batch."""
        return registry.make("Element", value, tuple(index))

    @staticmethod
    def mean(value: str, box: Sequence[float] | None = None) -> Target:
        """The mean of a value, over the `box` (y0, x0, y1, x1) of the image where one is given."""
        return registry.make("Mean", value, None if box is None else tuple(box))

    @staticmethod
    def mean_gradient(value: str | None = None, box: Sequence[float] | None = None) -> Target:
        """The mean magnitude of the gradient of a map, by default the output that is one: what local attribution maps
        of super-resolution explain."""
        return registry.make("MeanGradient", value, None if box is None else tuple(box))

    @staticmethod
    def point(which: int | str, output: str | None = None) -> Target:
        """The peak of a keypoint's heat map: its number, or its name among the labels, or COCO's 17."""
        return registry.make("Point", which, output)

    @staticmethod
    def char(number: int | None = None) -> Target:
        """The `number`-th character, the first one being 1, of the text that a recogniser (CTC) reads; None for all."""
        return registry.make("Char", number)

    @staticmethod
    def at_word(which: int | str = "predicted", word: int | str = "") -> Target:
        """A class at a word, by number from 1 or by the word, of a model that labels every token."""
        return registry.make("AtWord", which, word)

    @staticmethod
    def answer(edge: str, word: int | str = "") -> Target:
        """A word as the "start" or the "end" of the answer that a model marks in a passage, by default the one that it
        marks."""
        if edge not in ("start", "end"):
            raise TargetError(f"an answer has a start and an end, no {edge!r}")
        return registry.make("AnswerEdge", edge, word)

    @staticmethod
    def token(which: int | str | None = None, against: str = "", *, log: bool = False) -> Target:
        """A token that a language model says: its number in the continuation, from 1, or its text; None for all of
        them. `against`: another one, whose score is taken off; `log`: the log-probability."""
        if isinstance(which, str):
            return registry.make("SaidToken", None, which, against, log)
        return registry.make("SaidToken", which, "", against, log)

    @staticmethod
    def region(
        which: int | str | None = None,
        box: Sequence[float] | None = None,
        mask: NDArray[Any] | None = None,
        output: str | None = None,
        part: int | str | None = None,
    ) -> Target:
        """`which`: the class, "predicted" the one of the largest area that is no background; None where there is one
        channel, else "predicted". `part`: a number k for its k-th largest connected component, "boundary" for the band
        of two pixels along its edge."""
        return registry.make("Region", which, None if box is None else tuple(box), mask, output, part)

    @staticmethod
    def like(*references: Any, pool: str = "auto") -> Target:
        """References: pictures (uint8), tensors for the model, or embeddings (D,); files on the command line."""
        return registry.make("Like", tuple(references), (), pool)

    @staticmethod
    def unlike(a: Any, b: Any, pool: str = "auto") -> Target:
        """How much more similar to `a` than to `b`: references as in `like`."""
        return registry.make("Like", (a,), (b,), pool)

    @staticmethod
    def detection(
        rank: int = 1,
        label: int | str | None = None,
        *,
        at: Sequence[float] | None = None,
        edges: Sequence[float] | None = None,
        side: str | None = None,
        objectness: bool = False,
        mask: bool = False,
        point: int | str | None = None,
    ) -> Target:
        """A box of a detector: the `rank`-th most certain one (of a class), the smallest one around the point `at`
        (y, x), or the one most like `edges` (y0, x0, y1, x1), in pixels of the image. `side`: "x1", "y1", "x2", "y2",
        "w" or "h" in place of its score; `objectness`: that there is an object at all; `mask`: the mask of instance
        segmentation; `point`: that a point of a pose is seen, with the side "x" or "y" where it is."""
        which = rank, label, None if at is None else tuple(at), None if edges is None else tuple(edges)
        return registry.make("Box", *which, side, objectness, mask, point)

    @staticmethod
    def detections(count: int | None = None, label: int | str | None = None) -> Target:
        """The `count` most certain boxes of a detector (of a class), a map for each; None for all of them."""
        return registry.make("Boxes", count, label)

    @staticmethod
    def cotangent(value: str, array: NDArray[Any]) -> Target:
        """The sum of the elements of a value times `array`, of the shape of one sample."""
        return registry.make("Cotangent", value, np.asarray(array))
