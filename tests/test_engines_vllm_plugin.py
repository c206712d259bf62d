# SPDX-License-Identifier: Apache-2.0
"""What the plug-in changes in vLLM: the factory of connectors, if it is enabled and was tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_connector import Hybrid, Small, config_of

import mfs_transport as mfs
from mfs_transport.engines.vllm import interface, plugin

pytest_plugins = ("small_connector",)

# --- the factory ---


@pytest.fixture
def installed(factory: Any) -> Any:
    interface.install()
    interface.install()
    return factory


def test_install__stock_names_are_wrapped(installed: Any):
    assert installed.get_connector_class(config_of("Small")) is interface.wrap(Small)


def test_install__multi_is_left_to_its_children(installed: Any):
    assert installed.get_connector_class(config_of("MultiConnector")) is Hybrid


def test_install__mfs_connector_wraps_by_name(installed: Any):
    found = installed.get_connector_class(config_of("MFSConnector", mfs_connector="Small"))
    assert found is interface.wrap(Small)
    assert not installed.supports_hma_config(config_of("MFSConnector", mfs_connector="Small"))
    assert installed.supports_hma_config(config_of("MFSConnector"))
    multi = config_of("MFSConnector", mfs_connector="MultiConnector")
    assert not installed.supports_hma_config(multi)
    assert installed.get_connector_class(multi) is Hybrid


def test_install__mfs_connector_of_another_module(installed: Any):
    config = config_of("MFSConnector", mfs_connector="Small", mfs_connector_module_path=__name__)
    assert installed.get_connector_class(config) is interface.wrap(Small)


def test_install__unknown_inner_connector_is_one_line(
    installed: Any, capsys: pytest.CaptureFixture[str]
):
    for _ in range(3):
        config = config_of("MFSConnector", mfs_connector="NixlConector")
        assert installed.get_connector_class(config) is interface.wrap(Hybrid)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "mfs: mfs_connector 'NixlConector': vLLM has no such connector; "
        "did you mean NixlConnector? Using NixlConnector"
    ]


def test_install__other_unknown_names_are_vllms_matter(installed: Any):
    with pytest.raises(ValueError, match="Unsupported connector type: Foo"):
        installed.get_connector_class(config_of("Foo"))


# --- the plug-in ---


def test_plugin__does_nothing_unless_enabled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MFS_ENABLE", raising=False)
    monkeypatch.setitem(sys.modules, "vllm", None)  # would not import
    plugin.register()


def test_plugin__trouble_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MFS_ENABLE", "1")
    monkeypatch.setitem(sys.modules, "vllm", None)
    plugin.register()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("vLLM serves as without mfs-transport")


def test_plugin__untested_release_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], factory: Any
):
    monkeypatch.setenv("MFS_ENABLE", "1")
    monkeypatch.delenv("NIXL_UCX_DEEPBIND", raising=False)
    sys.modules["vllm"].__version__ = "9.1.0"  # type: ignore[attr-defined]
    plugin.register()
    assert "vLLM 9.1.0 was not tested" in capsys.readouterr().err
    assert "NIXL_UCX_DEEPBIND" not in os.environ
    assert factory.get_connector_class(config_of("Small")) is Small
    named = config_of("MFSConnector", mfs_connector="Small")  # a server that is so started
    assert factory.get_connector_class(named) is Small


def test_slo__wrong_setting_is_one_line(tmp_path: Path):
    program = (
        "from mfs_transport import default_host\n"
        "from mfs_transport.engines.vllm.connector import classes_of_environment\n"
        "default_host(); print(classes_of_environment())\n"
    )
    variables = {"MFS_SLO": "tight=fast", "MFS_SEGMENT": str(tmp_path / "segment")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{}\n"
    assert done.stderr.startswith("mfs: MFS_SLO=tight=fast: each class once, as NAME=TIME")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["1", "y", "yes", "on", "true", "YES"])
def test_flags__every_word_that_the_table_takes_is_heeded(
    monkeypatch: pytest.MonkeyPatch, value: str
):
    for name in ("MFS_ENABLE", "MFS_LAYERWISE", "MFS_VLLM_UNTESTED"):
        monkeypatch.setenv(name, value)
    assert plugin.enabled()
    assert interface.layerwise_wanted()
    installed: list[bool] = []
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="9.1.0"))
    monkeypatch.setattr(plugin, "prepare_environment", lambda: None)
    monkeypatch.setattr(plugin, "load_shim", lambda: None)
    monkeypatch.setattr(interface, "install", lambda wrapping=True: installed.append(wrapping))
    plugin.register()
    assert installed == [True]


def test_entry_point__is_declared():
    text = (Path(mfs.__file__).parent.parent / "pyproject.toml").read_text()
    assert 'mfs = "mfs_transport.engines.vllm.plugin:register"' in text
