"""Localisation: does the heat lie on the object, whose pixels are known?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import MethodError
from ...methods.options import option
from .. import localisation as measures
from ..case import Case
from ..registry import Family, Measured, Metric, metric

_WEAKNESS = "a network may look elsewhere than at the object, and then an honest map does too"
_ARRAS = (
    'L. Arras, A. Osman and W. Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural '
    'network explanations", Information Fusion 81, 2022, section 3.3'
)
_ZHANG = (
    'J. Zhang et al., "Top-Down Neural Attention by Excitation Backprop", International Journal of Computer Vision '
    "126, 2018, section 4.1"
)


@dataclass(frozen=True)
class _OnObject(Metric):
    family: ClassVar[Family] = "localisation"
    needs_mask: ClassVar[bool] = True
    range: ClassVar[str] = "0 to 1"
    weakness: ClassVar[str] = _WEAKNESS


@metric("pointing-game")
@dataclass(frozen=True)
class PointingGame(_OnObject):
    """1 if the hottest pixel lies on the object or at most `tolerance` pixels from it, else 0; ties by their share."""

    tolerance: float = option(15.0, "Pixels of the original image.", low=0)
    paper: ClassVar[str] = _ZHANG
    weakness: ClassVar[str] = "one pixel decides, and the tolerance is large on small images; " + _WEAKNESS

    def __call__(self, case: Case) -> Measured:
        return Measured(measures.pointing_game(case.image_heat, case.object_mask, self.tolerance))


@metric("pointing-game-difficult")
@dataclass(frozen=True)
class PointingGameDifficult(PointingGame):
    """The pointing game on images whose object covers less than a quarter, where luck does not suffice.

    The paper's difficult subset also asks for another object in the image, which masks of one class do not show.
    """

    def __call__(self, case: Case) -> Measured:
        if case.object_mask.mean() >= 0.25:
            raise MethodError("the object covers a quarter of the image or more: it is none of the difficult subset")
        return super().__call__(case)


@metric("relevance-mass")
@dataclass(frozen=True)
class RelevanceMass(_OnObject):
    """The part of the heat that lies on the object: sum of a inside / sum of a, also called the energy inside."""

    paper: ClassVar[str] = _ARRAS + '; H. Wang et al., "Score-CAM", CVPR workshops 2020, section 4.3'
    weakness: ClassVar[str] = "coarse maps of small objects cannot reach much; " + _WEAKNESS

    def __call__(self, case: Case) -> Measured:
        return Measured(measures.energy_in_mask(case.image_heat, case.object_mask))


@metric("relevance-rank")
@dataclass(frozen=True)
class RelevanceRank(_OnObject):
    """The part of the K hottest pixels that lie on the object, K being the number of its pixels."""

    paper: ClassVar[str] = _ARRAS

    def __call__(self, case: Case) -> Measured:
        return Measured(measures.relevance_rank(case.image_heat, case.object_mask))


@metric("iou")
@dataclass(frozen=True)
class Iou(_OnObject):
    """Intersection over union of the object and the pixels of at least `threshold` times the greatest heat."""

    threshold: float = option(0.2, "In parts of the greatest heat.", low=0, high=1)
    paper: ClassVar[str] = (
        'B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2'
    )
    weakness: ClassVar[str] = "one threshold fits one kind of map: compare methods by iou-best; " + _WEAKNESS

    def __call__(self, case: Case) -> Measured:
        return Measured(measures.overlap(case.image_heat, case.object_mask, self.threshold))


@metric("iou-best")
@dataclass(frozen=True)
class IouBest(_OnObject):
    """Intersection over union of the object and the pixels above the threshold that fits best, image by image."""

    paper: ClassVar[str] = (
        'J. Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 3'
    )
    weakness: ClassVar[str] = "the threshold is chosen knowing the object, as no user can; " + _WEAKNESS

    def __call__(self, case: Case) -> Measured:
        return Measured(measures.overlap(case.image_heat, case.object_mask))


@metric("localisation-auc")
@dataclass(frozen=True)
class LocalisationAuc(_OnObject):
    """The probability that a pixel of the object is hotter than one outside: the area under the ROC curve."""

    paper: ClassVar[str] = (
        'T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006, as Quantus has it'
    )
    weakness: ClassVar[str] = "small objects lie in much background, of which little decides; " + _WEAKNESS

    def __call__(self, case: Case) -> Measured:
        return Measured(measures.area_under_roc(case.image_heat, case.object_mask))
