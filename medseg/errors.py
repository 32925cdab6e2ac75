"""Every error a user can cause, as a tree:

MedsegError                 one sentence: what was wrong, the value, what was expected, what to do
├── InputError              a file, folder, picture, volume or table that cannot be used as given
├── TaskError               a task of a package that is broken, or of the same name as another's
├── RunError                a run folder that is missing, incomplete or not what its manifest says
├── PackageError            a package of an extra that is not installed
├── EngineError             an engine that is not installed, or cannot open or run the file it was given
├── ExportError             an exported file that could not be made, or is not good enough to be recorded
└── ServerError             a Triton server that does not start, does not answer, or answers with an error

Anything else that is raised is a fault of medseg itself and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST = 80  # characters of a word that are quoted


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """The sentence about a word that names none of what is known, with the one that is most like it, if any is."""
    words = list(known)
    close = get_close_matches(word[:_LONGEST].lower(), words, 1)
    meant = f": did you mean {close[0]!r}?" if close else ""
    return f"{what} {word[:_LONGEST]!r} is unknown; expected one of {', '.join(words)}{meant}"


class MedsegError(Exception):
    """A user's mistake; the command line prints it as one `error:` line and exits with 1."""


class InputError(MedsegError):
    """A file, folder, picture, volume or table that cannot be used as given."""


def bare(error: InputError) -> InputError:
    """The same sentence, to be kept: the error itself would keep the frames that it passed, and a whole CT in them."""
    return InputError(str(error))


class TaskError(MedsegError):
    """A task of a package that is broken, or of the same name as another's."""


class RunError(MedsegError):
    """A run folder that is missing, incomplete or not what its manifest says."""


class PackageError(MedsegError):
    """A package of an extra that is not installed."""


class EngineError(MedsegError):
    """An engine that is not installed, or cannot open or run the file it was given."""


class ExportError(MedsegError):
    """An exported file that could not be made, or is not good enough to be recorded."""


class ServerError(MedsegError):
    """A server, Triton's or one that holds files, that does not start, does not answer, or answers with an error."""
