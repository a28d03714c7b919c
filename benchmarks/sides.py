"""Sides of a comparison, each in a process of its own."""

import subprocess


class Side:
    """A process that does what it is asked, line by line; its answers are the lines that begin with "=".

    Its first answer says that it is ready.
    """

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def __call__(self, what: str) -> str:
        """The answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._read()

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        # Libraries print what they like.
        return next(line for line in self.process.stdout if line.startswith("="))[1:]
