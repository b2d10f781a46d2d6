"""Findings and errors: code, received, expected, fix.

Every message of the package is one line ``CTK-<I|W|E><nnn> text``: I is information, W
a warning, E an error. The same number with W and E is one subject at two severities. An
E is raised as `CtKerasError`; I and W are `Finding` records that readers collect and
the command line prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit status of a command."""

    DONE = 0
    UNEXPECTED = 1
    NO_CT = 2
    USAGE = 3
    BAD_INPUT = 4
    UNREADABLE = 5
    OUTPUT_PATH = 6
    CANNOT_WRITE = 7
    PARTIAL = 8
    GUARD = 9
    INTERRUPTED = 75


#: Findings about a series beside this one, and about files of unknown series, that
#: cannot be used: a result lacks them.
REFUSED_NEIGHBOUR, LEFT_OUT = "CTK-W030", "CTK-W009"

#: Exit codes that differ from BAD_INPUT, by error code.
_EXIT_CODES = {
    "CTK-E000": ExitCode.USAGE,  # usage: unknown option value, missing argument
    "CTK-E001": ExitCode.NO_CT,  # no CT image found
    "CTK-E005": ExitCode.UNREADABLE,  # file or folder cannot be read
    "CTK-E006": ExitCode.USAGE,  # too many files
    "CTK-E011": ExitCode.GUARD,  # lossy source refused
    "CTK-E020": ExitCode.NO_CT,  # not CT
    "CTK-E030": ExitCode.USAGE,  # several series and none was chosen
    "CTK-E040": ExitCode.GUARD,  # no rescale
    "CTK-E042": ExitCode.GUARD,  # rescale type is not HU
    "CTK-E044": ExitCode.GUARD,  # implausible HU
    "CTK-E050": ExitCode.GUARD,  # already denoised
    "CTK-E051": ExitCode.GUARD,  # mixed patients
    "CTK-E052": ExitCode.GUARD,  # text is burned into the pixels
    "CTK-E061": ExitCode.GUARD,  # noise level far outside the model card
    "CTK-E063": ExitCode.GUARD,  # pictures where HU are needed, or the reverse
    "CTK-E070": ExitCode.GUARD,  # output is not finite
    "CTK-E071": ExitCode.OUTPUT_PATH,  # output path inside the input or not empty
    "CTK-E073": ExitCode.CANNOT_WRITE,  # permission, disk full
    "CTK-E074": ExitCode.CANNOT_WRITE,  # the written files differ when read back
    "CTK-E083": ExitCode.USAGE,  # a patient in two splits
    "CTK-E084": ExitCode.USAGE,  # a split, slice or recipe that does not exist
    "CTK-E086": ExitCode.USAGE,  # a slice is smaller than a patch
    "CTK-E089": ExitCode.GUARD,  # training diverged
    "CTK-E092": ExitCode.USAGE,  # unknown model name
    "CTK-E100": ExitCode.USAGE,  # the node cannot listen on its port
    "CTK-E102": ExitCode.USAGE,  # TLS files cannot be used
    "CTK-E106": ExitCode.UNEXPECTED,  # a part of the node has ended
    "CTK-E120": ExitCode.UNEXPECTED,  # an unexpected error in a series of an archive
    "CTK-E121": ExitCode.UNEXPECTED,  # a pipeline on an archive failed
    "CTK-E110": ExitCode.INTERRUPTED,  # another worker of a training run has ended
}


class CtKerasError(Exception):
    """An invalid input or request, with the reason in one line.

    Attributes:
        code: ``CTK-E`` and three digits.
        message: What went wrong.
        received: What was given, or None.
        expected: What would be valid, or None.
        fix: How to fix it, or None.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        received: object = None,
        expected: object = None,
        fix: str | None = None,
    ):
        self.code = code
        self.message = message
        self.received = received
        self.expected = expected
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [f"{self.code} {self.message}"]
        for name in ("received", "expected", "fix"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name}: {value}")
        return "; ".join(" ".join(part.split()) for part in parts)

    def __reduce__(self):
        details = (self.code, self.message, self.received, self.expected, self.fix)
        return _rebuild, details

    @property
    def exit_code(self) -> ExitCode:
        """The exit status of a command that fails with this error."""
        return _EXIT_CODES.get(self.code, ExitCode.BAD_INPUT)


def _rebuild(code, message, received, expected, fix) -> CtKerasError:
    return CtKerasError(code, message, received=received, expected=expected, fix=fix)


@dataclass(frozen=True)
class Finding:
    """A finding worth reporting: ``CTK-I`` is information, ``CTK-W`` a warning.

    Attributes:
        code: ``CTK-I`` or ``CTK-W`` and three digits.
        text: One sentence without names, dates, UIDs or paths.
        option: The option that accepts what would be refused without it, or None.
    """

    code: str
    text: str
    option: str | None = None

    def __str__(self) -> str:
        accepted = f" (accepted: {self.option})" if self.option else ""
        return f"{self.code} {self.text}{accepted}"
