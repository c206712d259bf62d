# SPDX-License-Identifier: Apache-2.0
"""Where a setting comes from, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfs_transport.config import (
    flag,
    nearest,
    own_port,
    parse_assignment,
    read_file,
    resolve,
    string,
)
from mfs_transport.native import InputError, config_rows


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def toml(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_own_port__by_mfs_port_or_the_device_of_ucx():
    assert own_port({"MFS_PORT": "eth7", "UCX_NET_DEVICES": "mlx5_0:1"}) == "eth7"
    assert own_port({"UCX_NET_DEVICES": "mlx5_0:1"}) == "mlx5_0"
    assert own_port({"UCX_NET_DEVICES": "mlx5_0:1,mlx5_1:1"}) == "default"
    assert own_port({}) == "default"


def test_resolve__every_variable_has_its_default():
    settings = resolve({}, {})
    assert [row.name for row in settings.rows] == [row.name for row in config_rows()]
    assert {row.source for row in settings.rows} == {"default"}
    assert settings["MFS_POLICY"].value == "mfs"
    assert settings.file is None


def test_resolve__command_line_then_environment_then_file_then_default(tmp_path: Path):
    file = toml(
        tmp_path / "a.toml",
        '[mfs]\npolicy = "fifo"\nwindow = "1m"\nnccl_channels = 4\n',
    )
    environ = {"MFS_CONFIG": str(file), "MFS_POLICY": "edf", "MFS_WINDOW": "2m"}
    settings = resolve({"MFS_POLICY": "off"}, environ)
    found = {name: (settings[name].value, settings[name].source) for name in environ}
    assert found["MFS_POLICY"] == ("off", "command line")
    assert found["MFS_WINDOW"] == ("2m", "environment")
    channels = settings["MFS_NCCL_CHANNELS"]
    assert (channels.value, channels.source) == ("4", "file")
    assert settings["MFS_LEASE"].source == "default"
    assert settings.file == file


def test_resolve__an_empty_number_in_the_environment_is_unset():
    assert resolve({}, {"MFS_NCCL_CHANNELS": ""})["MFS_NCCL_CHANNELS"].source == "default"


def test_resolve__file_of_the_folder_before_that_of_the_home(tmp_path: Path):
    home = tmp_path / "home"
    toml(home / ".config/mfs/mfs.toml", '[mfs]\npolicy = "edf"\n')
    environ = {"HOME": str(home)}
    assert resolve({}, environ)["MFS_POLICY"].value == "edf"
    toml(tmp_path / "mfs.toml", '[mfs]\npolicy = "fifo"\n')
    assert resolve({}, environ)["MFS_POLICY"].value == "fifo"
    other = toml(tmp_path / "other.toml", '[mfs]\npolicy = "srpt"\n')
    assert resolve({}, {**environ, "MFS_CONFIG": str(other)})["MFS_POLICY"].value == "srpt"
    assert resolve({"MFS_CONFIG": str(other)}, environ)["MFS_POLICY"].value == "srpt"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"MFS_POLICY": "nice"}, ["MFS_POLICY=nice", "edf", "off"]),
        ({"MFS_POLCY": "edf"}, ["MFS_POLCY", "did you mean MFS_POLICY?"]),
        ({"MFS_NCCL_CHANNELS": "9"}, ["MFS_NCCL_CHANNELS=9", "1", "8"]),
        ({"MFS_WINDOW": "-1"}, ["MFS_WINDOW=-1", "bytes"]),
        ({"MFS_LEASE": "5"}, ["MFS_LEASE=5", "ms"]),
        ({"MFS_CONFIG": "/no/such.toml"}, ["/no/such.toml", "No such file"]),
        ({"MFS_CONFIG": "/dev/zero"}, ["/dev/zero", "longer than"]),
        ({"MFS_CONFIG": "/"}, ["/", "Is a directory"]),
        ({"MFS_SLO": "garbage"}, ["MFS_SLO=garbage", "NAME=TIME"]),
        ({"MFS_CLASSES": "46,,26"}, ["MFS_CLASSES=46,,26", "DSCP", "46,26,0"]),
        ({"MFS_CLASSES_ANSWERS": "46,26"}, ["MFS_CLASSES_ANSWERS=46,26", "MFS_CLASSES"]),
        ({"MFS_NCCL_CLASSES": "garbage"}, ["MFS_NCCL_CLASSES=garbage", "LEVEL:CLASS"]),
        ({"MFS_NCCL_STAGES": "1:all"}, ["MFS_NCCL_STAGES=1:all", "CLASS:STAGE"]),
        ({"MFS_PORT": "a\0b"}, ["MFS_PORT", "a text without NUL"]),
        ({"MFS_PORT": "\ud800"}, ["MFS_PORT", "half surrogate pairs"]),
        ({"MFS_\ud800": "1"}, ["variable", "a text without NUL"]),
        ({"MFS_POLICY": "é" * 3000}, ["MFS_POLICY=é", "one of off"]),
        ({"MFS_NCCL_FLUSH": "1"}, ["MFS_NCCL_FLUSH", "gone", "tests"]),
        ({"MFS_CHUNK_MIN": "16k"}, ["MFS_CHUNK_MIN", "gone", "MFS_PORT_RATE"]),
        ({"MFS_WINDOW_TIME": "1ms"}, ["MFS_WINDOW_TIME", "gone", "MFS_WINDOW "]),
        ({"MFS_NCCL_P2P_STAGE": "p2d"}, ["MFS_NCCL_P2P_STAGE", "gone", "MFS_NCCL_STAGES"]),
    ],
)
def test_resolve__bad_value_is_named_with_what_is_allowed(given: dict[str, str], says: list[str]):
    with pytest.raises(InputError) as caught:
        resolve(given, {})
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message


def test_resolve__bad_value_of_the_environment():
    environ = {"MFS_NCCL_CHANNELS": "many"}
    with pytest.raises(InputError, match="MFS_NCCL_CHANNELS=many"):
        resolve({}, environ)
    lenient = resolve({}, environ, lenient=True)
    assert lenient["MFS_NCCL_CHANNELS"].value == "1"
    assert "MFS_NCCL_CHANNELS=many" in lenient.remarks[0]


def test_resolve__unknown_variable_of_the_environment_is_told_not_refused():
    settings = resolve({}, {"MFS_POLISY": "edf"})
    assert settings["MFS_POLICY"].source == "default"
    assert len(settings.remarks) == 1
    assert "MFS_POLISY" in settings.remarks[0]
    assert "MFS_POLICY" in settings.remarks[0]


def test_resolve__what_is_gone_is_told_with_what_to_do_instead():
    (remark,) = resolve({}, {"MFS_NCCL_FLUSH": "1"}).remarks
    assert "MFS_NCCL_FLUSH: it is gone: it was for tests" in remark
    assert resolve({}, {"MFS_VLLM_VENV": "/x", "MFS_SETUP_APT": "0"}).remarks == ()


def test_resolve__an_empty_text_of_the_environment_is_unset():
    assert resolve({}, {"MFS_POLICY": ""})["MFS_POLICY"].source == "default"


def test_flag__every_word_of_the_table_and_no_other():
    for text in ("1", "y", "yes", "Yes", "on", "true"):
        assert flag("MFS_VLLM_UNTESTED", {"MFS_VLLM_UNTESTED": text})
    for text in ("", "0", "n", "no", "off", "false", "maybe", "2", "\udcff"):
        assert not flag("MFS_VLLM_UNTESTED", {"MFS_VLLM_UNTESTED": text})
    assert not flag("MFS_VLLM_UNTESTED", {})


def test_string__what_cannot_be_used_is_the_default():
    assert string("MFS_POLICY", {}) == "mfs"
    assert string("MFS_POLICY", {"MFS_POLICY": ""}) == "mfs"
    assert string("MFS_PORT", {"MFS_PORT": "eth0"}) == "eth0"
    assert string("MFS_SLO", {"MFS_SLO": "tight=fast"}) == ""


def test_read_file__numbers_and_truth_values(tmp_path: Path):
    file = toml(tmp_path / "a.toml", "[mfs]\nnccl_channels = 4\nwindow = 65536\nlog = 0\n")
    assert read_file(file) == {"MFS_NCCL_CHANNELS": "4", "MFS_WINDOW": "65536", "MFS_LOG": "0"}
    assert read_file(toml(tmp_path / "empty.toml", "# nothing yet\n")) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[mfs]\npolcy = "edf"\n', "polcy: there is no such setting; did you mean policy?"),
        ('[mfs]\npolicy = "nice"\n', "MFS_POLICY=nice"),
        ("[mfs]\nwindow = [1]\n", "window: a string, a number or a truth value is expected"),
        ("[mfs]\nenable = true\n", "enable: cannot be set in a file"),
        ('[mfs]\nconfig = "x"\n', "config: cannot be set in a file"),
        ('policy = "edf"\n', r"section \[mfs\]"),
        ('[mf]\npolicy = "edf"\n', r"section \[mfs\]"),
        ("[mfs\n", "not TOML"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("x = " + "{a = " * 5000, "nested too deeply"),
        ("x = " + "9" * 5000, "not TOML"),
        ("[mfs]\nnccl_flush = true\n", "nccl_flush: it is gone"),
        ("[mfs]\nnccl_channels = nan\n", "MFS_NCCL_CHANNELS=nan"),
        ('[mfs]\n"a\\u0000b" = 1\n', "a text without NUL"),
        (f'[mfs]\n"{"x" * 10_000}" = 1\n', "there is no such setting"),
    ],
)
def test_read_file__says_what_is_wrong_and_where(tmp_path: Path, text: str, says: str):
    file = toml(tmp_path / "a.toml", text)
    with pytest.raises(InputError, match=says) as caught:
        read_file(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_nearest():
    assert nearest("MFS_WINDWO", ["MFS_NCCL_CHANNELS", "MFS_WINDOW"]) == "MFS_WINDOW"
    assert nearest("", ["MFS_NCCL_CHANNELS"]) == "MFS_NCCL_CHANNELS"


def test_parse_assignment():
    assert parse_assignment("MFS_PORT=a=b") == ("MFS_PORT", "a=b")
    for text in ("MFS_PORT", "=x", ""):
        with pytest.raises(InputError, match="NAME=VALUE"):
            parse_assignment(text)
