"""A ticket: what stands for the result of one image until it is there."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

R = TypeVar("R")


class Ticket(Generic[R]):
    """Stands for the result of one image of a pipeline. `key` is what `submit` was given to know it by."""

    def __init__(self, key: object = None) -> None:
        self.key = key
        self._event = threading.Event()
        self._error: BaseException | None = None
        self._value: R

    def __repr__(self) -> str:
        state = "waiting" if not self.done() else "failed" if self._error is not None else "done"
        return f"<ticket {self.key!r}: {state}>"

    def done(self) -> bool:
        """Whether the result, or the error, is there."""
        return self._event.is_set()

    def result(self, timeout: float | None = None) -> R:
        """The result; waits for it, at most `timeout` seconds.

        Raises the image's own error, PipelineClosed where the pipeline was stopped before its turn, TimeoutError.
        """
        error = self.error(timeout)
        if error is not None:
            raise error
        return self._value

    def error(self, timeout: float | None = None) -> BaseException | None:
        """What the image failed with, None where it did not; waits as `result` does. Raises TimeoutError."""
        if not self._event.wait(timeout):
            raise TimeoutError(f"the result of {self.key!r} is not there after {timeout:g} s: wait longer")
        return self._error

    def succeed(self, value: R) -> None:
        """For the pipeline: the result is there."""
        self._value = value
        self._event.set()

    def fail(self, error: BaseException) -> None:
        """For the pipeline: the image failed."""
        self._error = error
        self._event.set()
