"""Python files of a user's own: imported, constructed, and what they raise told in one line. This runs their code."""
