"""From files and arrays to input tensors, and back."""

from .card import Card as Card
from .find import find_card as find_card
from .image import prepare as prepare
