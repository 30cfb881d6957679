"""The lock on a file, fought over by several at once."""

from concurrent.futures import ThreadPoolExecutor

from gan_training.files.lock import alone_with, remove_abandoned


def test_each_that_enters_holds_the_file_that_stands_there(tmp_path):
    part = tmp_path / "part"

    def write_and_remove(_):
        for _ in range(300):
            with alone_with(part) as file:
                assert file.read() == b""  # nobody else's
                file.write(b"x")
                part.unlink()  # fails where another has removed it

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_and_remove, range(8)))
    assert not part.exists()


def test_only_files_that_nobody_holds_are_removed(tmp_path):
    part = tmp_path / "part"
    with alone_with(part):
        remove_abandoned(part)
        assert part.exists()
    remove_abandoned(part)
    assert not part.exists()
