"""GAN_MODELS: folders, artifacts and models of BentoML's store."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from toy_artifact import write_artifact
from waiting import until

from gan_export.artifact import load_artifact
from gan_export.refusal import ExportError
from gan_export.store import check_store, put_into_store
from gan_serving.models.surveys import survey
from gan_serving.settings import Settings
from gan_serving.sources import Folder, StoreModel, Zoo, fingerprint, parse_sources

SECONDS = 60
LONGEST_PATH = 4096  # of Linux


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("/a::b:", [Folder(Path("/a")), Folder(Path("b"))]),
        ("~/b", [Folder(Path("~/b").expanduser())]),
        ("bento:digits", [StoreModel("digits")]),
        ("bento:digits:latest", [StoreModel("digits:latest")]),
        ("a:bento:digits:v1:b", [Folder(Path("a")), StoreModel("digits:v1"), Folder(Path("b"))]),
        ("bento:digits:./b", [StoreModel("digits"), Folder(Path("b"))]),
        ("bento:digits:/b", [StoreModel("digits"), Folder(Path("/b"))]),
        ("bento:digits::b", [StoreModel("digits"), Folder(Path("b"))]),
        ("bento:digits:bento:faces", [StoreModel("digits"), StoreModel("faces")]),
        ("./bento", [Folder(Path("bento"))]),
        ("zoo", [Zoo()]),
        ("a?:zoo:/b?", [Folder(Path("a"), may_be_missing=True), Zoo(), Folder(Path("/b"), may_be_missing=True)]),
        ("bento:digits:zoo", [StoreModel("digits"), Zoo()]),
        ("./zoo:zoo2:?", [Folder(Path("zoo")), Folder(Path("zoo2"))]),
    ],
)
def test_entries(text: str, expected: list[object]) -> None:
    assert parse_sources(text) == expected
    assert Settings(models=text).model_sources == expected


@pytest.mark.parametrize("text", ["bento", "bento:", "a:bento", "bento::a", "bento:bento:a", "bento:/a"])
def test_a_tag_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs the name of a model in BentoML's store"):
        parse_sources(text)


def test_folders_have_their_artifacts_and_nothing_hidden(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        write_artifact(tmp_path / name, name="x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    found = survey([Folder(tmp_path), Folder(tmp_path / "b"), Folder(tmp_path / "nowhere"), Folder(tmp_path / "file")])
    assert list(found.sources) == [tmp_path / "a", tmp_path / "b"]
    assert [str(error) for _, error in found.lost] == [
        f"{tmp_path / 'nowhere'}: can't be read: No such file or directory",
        f"{tmp_path / 'file'}: can't be read: Not a directory",
    ]


def test_a_folder_that_may_be_missing_is_no_complaint_and_is_seen_when_it_comes(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "models", may_be_missing=True)
    assert parse_sources(folder.resolved()) == [folder]
    found = survey([folder])
    assert (found.sources, found.lost) == ({}, [])
    write_artifact(tmp_path / "models" / "a")
    assert list(survey([folder]).sources) == [tmp_path / "models" / "a"]
    (tmp_path / "models").rename(tmp_path / "away")
    (_, error), *_ = survey([folder]).lost
    assert "No such file or directory" in str(error), "it was there: this is no longer what was meant"
    (tmp_path / "away").rename(tmp_path / "models")
    (_, error), *_ = survey([Folder(tmp_path / "models" / "a" / "manifest.json", may_be_missing=True)]).lost
    assert "Not a directory" in str(error)


def test_the_zoo_is_the_first_of_its_folders_that_is_there(tmp_path: Path) -> None:
    write_artifact(tmp_path / "second" / "a")
    zoo = Zoo((tmp_path / "first", tmp_path / "second"))
    assert zoo.artifacts() == [tmp_path / "second" / "a"]
    assert Zoo((tmp_path / "first",)).artifacts() == []
    assert parse_sources(zoo.resolved()) == [Zoo()]


def test_a_link_that_is_pointed_elsewhere_is_followed(tmp_path: Path) -> None:
    for version in (1, 2):
        write_artifact(tmp_path / f"release{version}" / "toy", version)
    link = tmp_path / "models"
    link.symlink_to("release1")
    (in_worker,) = parse_sources(Folder(link).resolved())
    before = survey([in_worker])
    (tmp_path / "new").symlink_to("release2")
    (tmp_path / "new").replace(link)
    after = survey([in_worker])
    assert list(before.sources) == list(after.sources) == [link / "toy"]
    assert before.fingerprints != after.fingerprints
    assert load_artifact(link / "toy").manifest.hyperparameters == {"version": 2}


def test_a_change_beside_a_link_to_itself_is_noticed(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "toy")
    (folder / "loop").symlink_to("loop")
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    (folder / "README.md").write_text("Another card.")
    assert fingerprint(folder) != before


def test_a_version_that_is_stored_during_the_look_up_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = tmp_path / "toy"
    first, second = write_artifact(versions / "v1", 1), versions / "v2"
    look_ups = 0

    def folder_of(_tag: str) -> Path:
        nonlocal look_ups
        look_ups += 1
        found = second if second.exists() else first
        if not second.exists():
            write_artifact(second, 2)  # when this look-up has read which version is the newest
        return found

    monkeypatch.setattr("gan_serving.store.folder_of", folder_of)
    source = StoreModel("toy")
    assert [source.artifacts() for _ in range(3)] == [[second]] * 3
    assert look_ups == 3, "nothing changed after the first look"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """An empty model store."""
    folder = tmp_path / "store"
    folder.mkdir()
    BentoMLContainer.model_store.set(ModelStore(folder))
    yield folder
    BentoMLContainer.model_store.reset()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # BentoML's own imports
@pytest.mark.parametrize(
    ("name", "tag"), [("a_", "a"), ("a.", "a"), ("A.-_", "a"), ("b" * 64, "b" * 63), ("c" * 62 + "_d", "c" * 62)]
)
def test_every_name_of_a_generator_has_a_tag(store: Path, tmp_path: Path, name: str, tag: str) -> None:
    check_store(name)
    made = put_into_store(load_artifact(write_artifact(tmp_path / "made", name=name)))
    assert made.partition(":")[0] == tag
    assert [folder.name for folder in store.iterdir()] == [tag]
    assert load_artifact(Path(StoreModel(tag).artifacts()[0])).name == name


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_a_tag_of_two_generators_and_a_store_that_can_not_be_written_are_told_before(
    store: Path, tmp_path: Path
) -> None:
    put_into_store(load_artifact(write_artifact(tmp_path / "made", name="Foo")))
    check_store("Foo")
    with pytest.raises(ExportError, match=r"'foo' has the tag 'foo' in .* which holds the generator 'Foo'"):
        check_store("foo")
    with bentoml.models.create("mine"):
        pass
    with pytest.raises(ExportError, match="which holds a model that is not a generator: give another --name"):
        check_store("mine")
    (store / "toy").write_text("in the way")
    with pytest.raises(ExportError, match=r"store/toy can't be written: it is not a directory"):
        check_store("toy")


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_a_copy_that_fails_says_that_the_artifact_is_there_and_how_to_repeat_it(store: Path, tmp_path: Path) -> None:
    artifact = load_artifact(write_artifact(tmp_path / "made of" / "toy"))
    (artifact.directory / "folder").mkdir()
    with pytest.raises(ExportError) as caught:
        put_into_store(artifact)
    assert str(caught.value).startswith(f"{artifact.directory} is written, but BentoML's model store can't store it: ")
    assert str(caught.value).endswith(f"; repeat it with: python -m gan_export.store '{artifact.directory}'")
    assert list(store.rglob("*")) == []


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_of_many_files_that_can_not_be_copied_the_first_is_named(tmp_path: Path) -> None:
    artifact = load_artifact(write_artifact(tmp_path / "toy"))
    store = tmp_path
    while len(str(store)) < LONGEST_PATH - 50:  # a version's folder still fits, and no file in it does
        store /= "d" * min(200, LONGEST_PATH - 32 - len(str(store)))
    store.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(store))
    try:
        with pytest.raises(ExportError) as caught:
            put_into_store(artifact)
    finally:
        BentoMLContainer.model_store.reset()
    said = str(caught.value)
    assert said.startswith(f"{artifact.directory} is written, but BentoML's model store can't store it: [Errno 36] ")
    assert said.endswith(f"; repeat it with: python -m gan_export.store {artifact.directory}")
    assert said.count("File name too long") == 1


def test_an_artifact_that_is_made_already_is_put_there_and_ctrl_c_leaves_the_store_alone(tmp_path: Path) -> None:
    folder, temporary = write_artifact(tmp_path / "toy"), tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "home"), "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "gan_export.store", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{folder}: in BentoML's model store as toy:")
    before = sorted((tmp_path / "home").rglob("*"))

    ours, theirs = os.openpty()  # reading it waits
    (folder / "z").symlink_to(os.ttyname(theirs))
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: any(temporary.glob("bentoml-model-*/z")), "the copy has begun", process=process)
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=SECONDS)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, printed) == (130, "")
    assert f"{folder} is written, but is not in BentoML's model store; repeat it with: python -m" in told
    assert "nothing was written" not in told
    assert sorted((tmp_path / "home").rglob("*")) == before


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # BentoML's own imports
def test_a_tag_follows_the_newest_version_of_the_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    BentoMLContainer.model_store.set(ModelStore(store))
    try:
        sources = [StoreModel("toy"), StoreModel("toy:latest")]
        (_, first), (_, second) = survey(sources).lost
        assert str(first).startswith("bento:toy is not in BentoML's model store (no Models with name 'toy' exist")
        assert "gan-export --store" in str(first)
        assert str(second).startswith("bento:toy:latest is not in")

        tag = put_into_store(load_artifact(write_artifact(tmp_path / "first" / "toy", 1)))
        (folder,) = survey(sources).sources
        fixed = StoreModel(tag)
        assert fixed.artifacts() == [folder]
        assert load_artifact(folder).manifest.hyperparameters == {"version": 1}

        put_into_store(load_artifact(write_artifact(tmp_path / "second" / "toy", 2)))
        (newer,) = survey(sources).sources
        assert load_artifact(newer).manifest.hyperparameters == {"version": 2}
        assert fixed.artifacts() == [folder]
    finally:
        BentoMLContainer.model_store.reset()
