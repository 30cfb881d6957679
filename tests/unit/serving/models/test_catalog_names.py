"""Several artifacts of one name: which of them is served, and what is said of the others."""

import shutil
from itertools import pairwise
from typing import Any

import pytest
from house import House, look, names
from toy_artifact import write_artifact

from gan_serving.errors import NotLoadableError, UnknownModelError
from gan_serving.models.catalog import Catalog


def test_of_two_artifacts_with_one_name_the_second_takes_over_without_a_gap(house: House, logged_errors: Any) -> None:
    house.put("a", 1)
    house.put("twin", 2, name="a")
    house.put("z")

    async def scenario(catalog: Catalog) -> None:
        (line,) = logged_errors()
        assert "[name_taken]" in line
        first = catalog.get("a").digest
        assert [(state.name, state.state) for state in catalog.states()] == [
            ("a", "READY"),
            ("twin", "UNAVAILABLE"),
            ("z", "READY"),
        ]
        shutil.rmtree(house.folder / "a")
        await look(catalog)
        assert catalog.get("a").digest != first
        assert names(catalog) == ["a", "z"]

    house.drive(scenario)
    assert house.events == [("ok", "a")]


def test_artifacts_that_change_places_are_served_from_where_they_are(house: House, logged_errors: Any) -> None:
    """Two, as when a rollback exchanges `current` and `previous`, and three in a ring, each in one look."""
    house.put("current", 2, name="new")
    house.put("previous", 1, name="old")
    house.put("other", 5)

    async def scenario(catalog: Catalog) -> None:
        _move_round(house, "current", "previous")
        house.put("previous", 3, name="new")  # and a new version of it
        await look(catalog)
        assert catalog.get("new").manifest.hyperparameters == {"version": 3}
        assert catalog.get("old").manifest.hyperparameters == {"version": 1}
        _move_round(house, "current", "previous", "other")
        house.put("current", 6, name="other")
        report = await catalog.reload()
        assert (report.loaded, report.unloaded, report.failed) == (["other"], [], {})
        shutil.rmtree(house.folder / "previous")
        await look(catalog)
        assert names(catalog) == ["new", "other"], "each follows its own folder from then on"

    house.drive(scenario)
    assert logged_errors() == []


def test_artifacts_that_move_up_by_a_folder_are_served_all_the_time(house: House, logged_errors: Any) -> None:
    for place, version in (("newest", 3), ("second", 2), ("third", 1)):
        house.put(place, version, name=f"v{version}")

    async def scenario(catalog: Catalog) -> None:
        shutil.rmtree(house.folder / "third")
        for place, older in (("second", "third"), ("newest", "second")):
            (house.folder / place).rename(house.folder / older)
        house.put("newest", 4, name="v4")
        report = await catalog.reload()
        assert (report.loaded, report.unloaded, report.failed) == (["v4"], ["v1"], {})
        assert names(catalog) == ["v2", "v3", "v4"]

    house.drive(scenario)
    assert logged_errors() == []


def test_of_artifacts_that_change_places_a_broken_one_replaces_nothing(house: House, logged_errors: Any) -> None:
    house.put("current", 2, name="new")
    house.put("previous", 1, name="old")

    async def scenario(catalog: Catalog) -> None:
        _move_round(house, "current", "previous")
        house.put("previous", 3, name="new", forged=True)
        assert list((await catalog.reload()).failed) == ["new", "old"]
        assert names(catalog) == ["new", "old"]
        assert catalog.get("new").manifest.hyperparameters == {"version": 2}
        house.put("previous", 3, name="new")
        await look(catalog)
        assert catalog.get("new").manifest.hyperparameters == {"version": 3}
        assert (await catalog.reload()).failed == {}

    house.drive(scenario)
    assert len(logged_errors()) == 2


def _move_round(house: House, *folders: str) -> None:
    """Rename each artifact's folder to the next one, and the last one's to the first."""
    away = (house.folder / folders[-1]).rename(house.folder.parent / "away")
    for place, following in reversed([*pairwise(folders)]):
        (house.folder / place).rename(house.folder / following)
    away.rename(house.folder / folders[0])


def test_the_zoo_stands_back_behind_the_users_own_of_the_same_name(
    house: House, logged_errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, while serving, and when the user's own is gone again; without a word to the log."""
    zoo = house.folder.parent / "zoo"
    for name in ("mnist-cgan", "other"):
        write_artifact(zoo / name, 1, name=name)
    monkeypatch.setattr("gan_serving.sources.ZOO_FOLDERS", (zoo,))
    house.folder.rmdir()
    models = f"{house.folder}?:zoo"

    async def scenario(catalog: Catalog) -> None:
        assert names(catalog) == ["mnist-cgan", "other"]
        assert catalog.default_name == "mnist-cgan"
        first = catalog.get("other").digest
        house.folder.mkdir()
        house.put("mine", 2, name="other")
        await look(catalog)
        assert catalog.get("other").digest != first
        assert catalog.default_name == "other", "the user's own goes before the zoo"
        assert [(state.name, state.state) for state in catalog.states()] == [
            ("mnist-cgan", "READY"),
            ("other", "READY"),
        ]
        report = await catalog.reload()
        assert (report.loaded, report.failed) == ([], {})
        shutil.rmtree(house.folder / "mine")
        await look(catalog)
        assert catalog.get("other").digest == first
        assert catalog.default_name == "mnist-cgan"
        house.put("mine", 2, name="other")

    async def again(catalog: Catalog) -> None:
        assert names(catalog) == ["mnist-cgan", "other"]
        assert catalog.default_name == "other"
        assert catalog.get("other").manifest.hyperparameters == {"version": 2}

    house.drive(scenario, models)
    house.drive(again, models)
    house.drive(again, f"zoo:{house.folder}")
    assert logged_errors() == []
    assert house.events == [("ok", "other"), ("ok", "other")]


def test_a_name_that_a_folder_frees_goes_to_the_zoo_in_the_same_look(
    house: House, logged_errors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = house.folder.parent / "zoo"
    for name in ("one", "two"):
        write_artifact(zoo / name, 1, name=name)
    monkeypatch.setattr("gan_serving.sources.ZOO_FOLDERS", (zoo,))
    house.put("mine", 2, name="one")

    async def scenario(catalog: Catalog) -> None:
        assert catalog.get("one").manifest.hyperparameters == {"version": 2}
        house.put("mine", 3, name="two")  # the folder is another generator's now
        await look(catalog)
        assert names(catalog) == ["one", "two"]
        assert catalog.get("one").manifest.hyperparameters == {"version": 1}
        assert catalog.get("two").manifest.hyperparameters == {"version": 3}
        house.put("mine", 4, name="three")
        await look(catalog)
        assert names(catalog) == ["one", "three", "two"]
        assert catalog.get("two").manifest.hyperparameters == {"version": 1}
        house.put("mine", 5, name="one")
        await look(catalog)
        assert names(catalog) == ["one", "two"]
        assert catalog.get("one").manifest.hyperparameters == {"version": 5}

    house.drive(scenario, f"{house.folder}:zoo")
    assert logged_errors() == []


def test_the_zoo_and_the_users_own_of_one_name_may_come_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = house.folder.parent / "zoo"
    made = write_artifact(zoo / "other", 1, name="other")
    monkeypatch.setattr("gan_serving.sources.ZOO_FOLDERS", (zoo,))

    async def scenario(catalog: Catalog) -> None:
        away = made.rename(zoo.with_name("away"))
        await look(catalog)  # the last one of all stays
        house.put("mine", 2, name="other")
        away.rename(made)
        await catalog.reload()
        assert catalog.get("other").manifest.hyperparameters == {"version": 2}
        assert (await catalog.reload()).failed == {}

    house.drive(scenario, f"{house.folder}:zoo")


def test_a_broken_folder_that_is_called_like_another_generator_is_no_problem_of_that_one(house: House) -> None:
    house.put("good", name="faces")
    (house.folder / "faces").mkdir()
    (house.folder / "faces" / "manifest.json").write_text("{}")

    async def scenario(catalog: Catalog) -> None:
        assert names(catalog) == ["faces"]
        assert [(state.name, state.state) for state in catalog.states()] == [
            ("faces", "READY"),
            ("models/faces", "UNAVAILABLE"),
        ]
        await catalog.load("faces")
        await catalog.unload("faces")
        await catalog.load("faces")
        assert names(catalog) == ["faces"]
        report = await catalog.reload()
        assert list(report.failed) == ["models/faces"]
        house.put("good", 1, name="faces", forged=True)
        with pytest.raises(NotLoadableError, match=r"'faces' can't be loaded: \[tolerance\] good: "):
            await catalog.load("faces")

    house.drive(scenario)


def test_two_broken_folders_of_one_name_are_two(house: House) -> None:
    house.put("good")
    for parent, text in (("x", "{}"), ("y", "[")):
        (house.folder.parent / parent / "digits").mkdir(parents=True)
        (house.folder.parent / parent / "digits" / "manifest.json").write_text(text)

    async def scenario(catalog: Catalog) -> None:
        report = await catalog.reload()
        assert list(report.failed) == ["x/digits", "y/digits"]
        assert [state.name for state in catalog.states()] == ["good", "x/digits", "y/digits"]
        assert len(set(report.failed.values())) == 2
        with pytest.raises(NotLoadableError, match=r"'digits' can't be loaded: \[manifest\] digits/manifest.json: "):
            await catalog.load("digits")
        with pytest.raises(UnknownModelError, match=r"'digits' is not served: \[manifest\] digits/manifest.json: "):
            catalog.get("digits")

    house.drive(scenario, ":".join(str(each) for each in (house.folder, *(house.folder.parent / p for p in "xy"))))
