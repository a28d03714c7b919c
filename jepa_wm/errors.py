"""The one exception a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: the message says what, where, got, expected and what to do.

    The command line prints it as one line and exits with code 2; `--debug` shows the traceback.
    """
