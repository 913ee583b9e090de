"""The registry of attribution methods: one file per method, each a frozen dataclass registered by name.

    @method("grad-cam")
    @dataclass(frozen=True)
    class GradCam(Method):
        '''First line: the help text. ...'''

        steps: int = option(50, "Number of steps.", low=1)

        def __call__(self, problem: Problem) -> Maps: ...

The fields are the options: type, default, help, limits and choices of each are checked here once; the command line's
options, the documentation and the common tests come from the registry. Modules are found by `pkgutil`: a new method is
one new file.
"""

from __future__ import annotations

from .options import Option as Option
from .options import describe as describe
from .options import option as option
from .registry import Method as Method
from .registry import Needs as Needs
from .registry import Sanity as Sanity
from .registry import find as find
from .registry import help_of as help_of
from .registry import make as make
from .registry import method as method
from .registry import methods as methods
from .registry import options_of as options_of
from .registry import parse as parse
