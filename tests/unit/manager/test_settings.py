"""Settings: the command line wins over settings.json, and what cannot be is named."""

from __future__ import annotations

import pytest

from air_executor.errors import DamagedFileError
from air_executor.manager.settings import ManagerSettings, load_settings
from air_executor.store.root import Root


def test_without_a_file_the_defaults_hold(root: Root) -> None:
    assert load_settings(root, {}) == ManagerSettings()


def test_the_command_line_wins(root: Root) -> None:
    (root.path / "settings.json").write_text('{"slots": 3, "rescan_s": 1, "use_cgroups": false}')
    found = load_settings(root, {"slots": 5})
    assert (found.slots, found.rescan_s, found.use_cgroups, found.kill_grace_s) == (5, 1, False, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"slots": 0}', r"`int` >= 1 - at `\$\.slots`"),
        ('{"slots": "many"}', r"`\$\.slots`"),
        ('{"slots": 1e9}', r"`\$\.slots`"),
        ('{"rescan_s": 0}', r"`\$\.rescan_s`"),
        ('{"kill_grace_s": -1}', r"`\$\.kill_grace_s`"),
        ('{"kill_grace_s": 1e300}', r"`\$\.kill_grace_s`"),
        ('{"slotz": 1}', "unknown field `slotz`"),
        ("[]", "Expected `object`"),
        ('{"slots": ', "not valid JSON"),
        ("[" * 100_000, "settings.json"),
    ],
)
def test_what_cannot_be_is_named_with_its_file(root: Root, content: str, message: str) -> None:
    (root.path / "settings.json").write_text(content)
    with pytest.raises(DamagedFileError, match=message) as caught:
        load_settings(root, {})
    assert str(root.path / "settings.json") in str(caught.value)
    assert "correct" in str(caught.value)


def test_an_option_that_cannot_be_is_named(root: Root) -> None:
    with pytest.raises(DamagedFileError, match=r"and its options.*`\$\.slots`"):
        load_settings(root, {"slots": -1})


def test_a_link_is_not_followed(root: Root) -> None:
    (root.path / "settings.json").symlink_to("/etc/passwd")
    with pytest.raises(DamagedFileError, match="plain file"):
        load_settings(root, {})
