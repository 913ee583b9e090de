"""Whether a small piece of work is done by NumPy, in a process that has not needed Numba so far.

To load Numba and the compiled code takes half a second of processor time. A process with little to do, such as one that
explains one photograph, does without: kernels that have a form in NumPy ask here first. The bytes are the same either
way, so that nothing depends on what a process did before.
"""

from __future__ import annotations

import sys

# Values that NumPy weighs, looks up or blends in about the time that Numba takes to load.
_MOST = 1 << 26
_spent = 0


def is_little(work: int) -> bool:
    """Whether to do without Numba; counts the work that was done so.

    work: about how many values NumPy goes through, one multiplication and addition each.
    """
    global _spent
    if "numba" in sys.modules or _spent + work > _MOST:
        return False
    _spent += work
    return True
