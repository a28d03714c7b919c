"""What the command line says of an error: one line, of what the user can mend."""

import argparse
import difflib
import re

from jepa_wm.errors import UserError

LONGEST = 500
"""Characters of a parser's error that are shown: jsonargparse lists every class that it tried."""
LONGEST_OF_OURS = 4000
"""Characters of an error of this package: some list twenty broken samples."""
UNION = "Does not validate against any of the Union subtypes"
"""How jsonargparse begins where a value may be of several types."""
AROUND = re.compile(
    r"Type \S*Callable\[.*?\] expects a function or a callable class: "
    rf"|{UNION} Subtypes: \[.*?\] Errors: - | - Expected a NoneType|\.? (?:Got value: Namespace\(|Given value type: ).*"
)
"""What it says of the types and values around what is wrong."""
UNKNOWN = re.compile(r"(?:Option|Group) '([\w.]+)' .*?accept(?:ed| option '([\w.]+)')|arguments: --([\w.]+)")
"""How it says that it does not know an option, of a group or of none."""


PLACES = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
"""What the system says of a place where nothing can be read or written."""


def mendable(error: BaseException) -> Exception | None:
    """What the user can mend of an error: it, or what jsonargparse has wrapped in it; None if it is a bug."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError | argparse.ArgumentError):
            return cause
        if isinstance(cause, PLACES) and cause.filename is not None:
            return UserError(f"{cause.filename}: {cause.strerror}; expected another place, or leave to use this one")
        cause = cause.__cause__
    return argparse.ArgumentError(None, str(error)) if str(error).startswith(UNION) else None


def one_line(error: Exception) -> str:
    """What it says, in one line that is not too long."""
    line = re.sub(r"<class '([\w.]+)'>", r"\1", " ".join(str(error).split()))
    ours = isinstance(error, UserError)
    line, longest = (line, LONGEST_OF_OURS) if ours else (AROUND.sub("", line), LONGEST)
    return line if len(line) <= longest else line[:longest] + " … (--debug shows all)"


def unknown(error: Exception) -> str | None:
    """The dotted name of the option that is not known, if that is what is wrong."""
    found = UNKNOWN.search(str(error))
    return ".".join(filter(None, found.groups())) if found else None


def nearest(name: str, known: list[str]) -> str:
    """A question after the known name that is nearest to an unknown one; nothing if none is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
