"""What is said of what can't be exported."""


class IntakeError(ValueError):
    """A file, or an option for it, that can't be exported; the message is one line for the user."""


class ExportError(RuntimeError):
    """The export failed and left nothing behind, unless it says so; the message is one line for the user, `code`
    stable."""

    def __init__(self, message: str, *, code: str = "output") -> None:
        super().__init__(message)
        self.code = code


class StoppedError(Exception):
    """Ctrl-C when an artifact was written already; the message is one line for the user that says so."""
