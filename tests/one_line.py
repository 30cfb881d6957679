"""What a command says of what it refuses."""


def assert_one_line(told: str, *words: str) -> None:
    """One line of gan-client, with these words in it."""
    assert told.startswith("gan-client: ")
    assert told.count("\n") == 1
    for word in words:
        assert word in told
