"""GAN_MODELS: folders, artifacts and models of BentoML's store."""

from pathlib import Path

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from toy_artifact import write_artifact

from gan_export.artifact import load_artifact
from gan_export.store import put_into_store
from gan_serving.settings import Settings
from gan_serving.sources import Folder, StoreModel, Zoo, fingerprint, parse_sources, survey


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
