"""What is said of input that can't be exported."""


class IntakeError(ValueError):
    """A file, or an option for it, that can't be exported; the message is one line for the user."""
