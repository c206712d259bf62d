# SPDX-License-Identifier: Apache-2.0
"""Clusters: those that are shipped, files of the user's, keys that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mfs_transport import InputError
from mfs_transport.sim import models, setting

SMALL: dict[str, Any] = {"units": 2, "decode_hosts": 2}


@pytest.mark.parametrize("name", setting.names())
def test_shipped__every_model_fits(name: str):
    one = setting.read(name)
    assert one.about
    for model in one.models:
        assert one.model(model).flops == (
            one.cluster.unit_hosts * one.gpus_per_host * models.gpu_flops(one.gpu)
        )


def test_shipped__the_papers_figures():
    bed, large = setting.read("paper-testbed"), setting.read("paper-simulation")
    assert (bed.cluster.hosts, bed.cluster.units * bed.cluster.unit_hosts * 4) == (8, 16)
    assert (large.cluster.hosts, large.cluster.units * large.cluster.unit_hosts) == (256, 128)
    assert large.cluster.nics_per_host * large.cluster.link_Bps * 8 == pytest.approx(1.6e12)


def test_shipped__other_papers_clusters():
    tree, store = setting.read("tree"), setting.read("object-store")
    assert tree.cluster.hosts * tree.gpus_per_host == 64
    assert tree.cluster.hosts == 2 * tree.cluster.zone_hosts == 4 * tree.cluster.pod_hosts
    assert store.cluster.decode_hosts == 0
    # ports: what is fetched, and nothing else
    rate = store.capacity("llama3-8b", "conversation")
    assert 0 < rate < 8 / 1e-3


def test_read__changes_and_files(tmp_path: Path):
    assert setting.read("small", {"link_Gbps": 100}).cluster.link_Bps == 12.5e9
    path = tmp_path / "mine.toml"
    path.write_text('units = 3\ndecode_hosts = 1\ngpu = "h100"\nmodels = ["dbrx"]\n')
    one = setting.read(str(path))
    assert (one.name, one.cluster.units, one.cluster.hosts) == ("mine", 3, 4)
    assert one.models == ("dbrx",)


def test_model__never_more_groups_than_layers():
    assert setting.make("s", {**SMALL, "groups": 64}).model("llama3-8b").groups == 32


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"decode_hosts": 1}, "units is missing"),
        ({**SMALL, "unit": 3}, "unknown key 'unit'; there are about"),
        ({**SMALL, "units": 1.5}, "units 1.5: a whole number from 1"),
        ({**SMALL, "link_Gbps": 0}, "link_Gbps 0: a number from 0.001"),
        ({**SMALL, "gpu": "abacus"}, "GPU 'abacus'"),
        ({**SMALL, "gpu": 3}, "gpu 3: a text"),
        ({**SMALL, "models": ["gpt"]}, "model 'gpt'"),
        ({**SMALL, "models": "dbrx"}, "models 'dbrx': a list"),
    ],
)
def test_make__names_what_does_not_fit(table: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        setting.make("s", table)


def test_read__unknown_name():
    with pytest.raises(InputError, match="cluster 'moon': one of object-store, paper-one-nic"):
        setting.read("moon")
    with pytest.raises(InputError, match="No such file"):
        setting.read("moon.toml")
