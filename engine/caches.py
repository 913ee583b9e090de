"""Things that are kept because they are dear to make: the last few by a key, or one for as long as a model lives."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")


class _Slot(Generic[V]):
    """The place of one value; whoever holds the lock makes it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.made = False
        self.value: V

    def get(self, make: Callable[[], V]) -> V:
        if not self.made:
            with self.lock:
                if not self.made:
                    self.value = make()
                    self.made = True
        return self.value


class Kept(Generic[K, V]):
    """The `most` values used last, by key; safe for threads, which never make the same key's value twice at once.

    heavy: which values count as large; of these, at most `most_heavy` are kept. times: asked at every use, multiplies
    `most`. A maker that raises leaves nothing.
    """

    def __init__(
        self,
        most: int,
        heavy: Callable[[V], bool] | None = None,
        most_heavy: int = 0,
        times: Callable[[], int] = lambda: 1,
    ) -> None:
        self.most, self.heavy, self.most_heavy, self.times = most, heavy, most_heavy, times
        self._slots: OrderedDict[K, _Slot[V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`, made by `make()` where it is not there."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            slot.users += 1
        try:
            return slot.get(make)
        finally:
            with self._lock:
                slot.users -= 1
                self._trim()

    def _trim(self) -> None:
        # What is being made stays; what could not be made goes.
        self._drop([key for key, slot in self._slots.items() if not slot.made and not slot.users])
        made = {key: slot.value for key, slot in self._slots.items() if slot.made}
        if self.heavy is not None:
            heavy = [key for key, value in made.items() if self.heavy(value)]
            self._drop(heavy[: max(0, len(heavy) - self.most_heavy)])
        left = [key for key in self._slots if key in made]
        self._drop(left[: max(0, len(left) - self.most * self.times())])

    def _drop(self, keys: list[K]) -> None:
        for key in keys:
            del self._slots[key]

    def values(self) -> list[V]:
        """What is kept, the value used last at the end."""
        with self._lock:
            return [slot.value for slot in self._slots.values() if slot.made]

    def clear(self) -> None:
        with self._lock:
            self._slots.clear()

    def __len__(self) -> int:
        return len(self.values())


class Keeper(Protocol):
    """What holds things for as long as it lives: a model. `kept` begins empty and belongs to this module."""

    kept: dict[Any, Any]


M = TypeVar("M", bound=Keeper)


def of_model(make: Callable[Concatenate[M, P], V]) -> Callable[Concatenate[M, P], V]:
    """Decorates a function of a model and hashable arguments: its results are kept with the model, and go with it.

    Each is made once, whatever number of threads ask. An exception is not kept.
    """

    @wraps(make)
    def kept(model: M, /, *args: P.args, **kwargs: P.kwargs) -> V:
        # Kept in the model itself: in a table by models, a result that knows its model would keep both for ever.
        slot: _Slot[V] = model.kept.setdefault((make, args, tuple(sorted(kwargs.items()))), _Slot())
        return slot.get(lambda: make(model, *args, **kwargs))

    return kept
