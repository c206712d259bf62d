# SPDX-License-Identifier: Apache-2.0
"""Workloads: distributions, published file formats, arrivals, seeds."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from mfs_transport import InputError
from mfs_transport.sim import workload

PUBLISHED = Path(__file__).parents[2] / "shared" / "traces"


def mooncake(path: Path, *rows: tuple[float, int, list[int]]) -> str:
    lines = (
        json.dumps({"timestamp": t, "input_length": n, "output_length": 1, "hash_ids": blocks})
        for t, n, blocks in rows
    )
    path.write_text("\n".join(lines) + "\n")
    return f"mooncake:{path}"


def azure(path: Path, *rows: str) -> str:
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return f"azure:{path}"


@pytest.mark.parametrize(
    ("name", "mean", "reuse"), [("conversation", 2048, 0.5), ("agent", 1024, 0.65)]
)
def test_synthetic__mean_length_and_reuse(name: str, mean: float, reuse: float):
    found = workload.rows(name, 50_000, seed=1)
    assert found.tokens.mean() == pytest.approx(mean, rel=0.03)
    assert found.prefix.sum() / found.tokens.sum() == pytest.approx(reuse, abs=0.01)
    assert np.all((found.prefix >= 0) & (found.prefix < found.tokens))


def test_lognormal__parameters():
    found = workload.rows("lognormal:5000:0.2:0.1", 20_000, seed=1)
    assert found.tokens.mean() == pytest.approx(5000, rel=0.02)
    assert np.log(found.tokens).std() == pytest.approx(0.2, rel=0.05)
    assert not workload.rows("lognormal:5000", 100, seed=1).prefix.any()


def test_make__same_seed_same_requests_at_any_rate():
    slow = workload.make("agent", 1.0, 7, warmup=10, measured=90)
    fast = workload.make("agent", 4.0, 7, warmup=10, measured=90)
    other = workload.make("agent", 1.0, 8, warmup=10, measured=90)
    assert np.array_equal(slow.tokens, fast.tokens)
    assert np.allclose(slow.arrival_s, 4 * fast.arrival_s)
    assert not np.array_equal(slow.tokens, other.tokens)
    assert slow.measured.tolist() == [False] * 10 + [True] * 90


def test_make__poisson_gaps():
    gaps = np.diff(workload.make("agent", 8.0, 3, warmup=0, measured=40_000).arrival_s)
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 8, rel=0.03)


def test_make__waves_come_at_once_and_at_the_rate():
    found = workload.make("agent", 2.0, 3, warmup=1, measured=6, times="waves:3").arrival_s
    assert list(found) == [0.0, 0.0, 0.0, 1.5, 1.5, 1.5, 3.0]
    for wrong in ("waves", "waves:0", "waves:x", "tide"):
        with pytest.raises(InputError, match="poisson, trace or waves:N"):
            workload.make("agent", 2.0, 3, times=wrong)


def test_mooncake__reuse_of_an_infinite_prefix_cache(tmp_path: Path):
    name = mooncake(
        tmp_path / "t.jsonl",
        (0, 1024, [0, 1]),
        (1000, 1536, [0, 1, 2]),
        (2000, 1024, [0, 1]),
    )
    found = list(workload.stream_mooncake(Path(name.partition(":")[2])))
    assert found == [(0.0, 1024, 0), (1.0, 1536, 1024), (2.0, 1024, 1023)]


def test_stream__reads_no_more_than_it_must(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    mooncake(path, (0, 600, [0]))
    with path.open("a") as file:
        file.write("not JSON\n")
    rows = workload.stream_mooncake(path)
    assert next(rows) == (0.0, 600, 0)
    with pytest.raises(InputError, match="line 2: not JSON"):
        next(rows)


def test_azure__times_with_seven_digits(tmp_path: Path):
    name = azure(
        tmp_path / "t.csv",
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:50.9951690,396,109",
    )
    found = list(workload.stream_azure(Path(name.partition(":")[2])))
    assert [row[1:] for row in found] == [(374, 0), (396, 0)]
    assert found[1][0] == pytest.approx(4.314579)


@pytest.mark.parametrize(
    ("rows", "gap"),
    [
        (("2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:01+00:00"), 0.99007),
        (("2024-05-10 00:00:00+00:00", "2024-05-10 02:00:01+02:00"), 1.0),
        (("2024-05-10T00:00:00Z", "2024-05-09 22:00:01.25-0200"), 1.25),
        (("2024-05-10 00:00:00", "2024-05-10 00:00:01.5"), 1.5),
    ],
)
def test_azure__times_with_and_without_a_zone(tmp_path: Path, rows: tuple[str, ...], gap: float):
    name = azure(tmp_path / "t.csv", *(f"{row},10,5" for row in rows))
    found = list(workload.stream_azure(Path(name.partition(":")[2])))
    assert found[1][0] == pytest.approx(gap)


def test_files__a_mark_is_no_text_and_a_packed_file_is_named(tmp_path: Path):
    row = '{"timestamp": 1, "input_length": 9, "hash_ids": []}'
    header = "TIMESTAMP,ContextTokens\n2024-05-10 00:00:00,9\n"
    for kind, text in (("mooncake", row), ("azure", header)):
        path = tmp_path / kind
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert workload.rows(f"{kind}:{path}", 1, seed=0).tokens.tolist() == [9]
        packed = tmp_path / f"{kind}.gz"
        packed.write_bytes(gzip.compress(text.encode()))
        with pytest.raises(InputError, match="packed with gzip; unpack it first"):
            workload.rows(f"{kind}:{packed}", 1, seed=0)


def test_mooncake__another_form_is_said_behind_the_file(tmp_path: Path):
    rows = ((float(i), 32, [0, i + 1]) for i in range(4))
    name = mooncake(tmp_path / "t.jsonl", *rows)
    with pytest.raises(InputError, match="say how many"):
        workload.rows(name, 4, seed=0)
    own = workload.make(f"{name},block=16,unit=s", None, 0, warmup=0, measured=4, times="trace")
    assert np.diff(own.arrival_s) == pytest.approx([1.0] * 3, abs=0.3)
    assert sorted(own.prefix.tolist()) == [0, 16, 16, 16]


def test_trace_times__spread_inside_their_buckets_and_stretched(tmp_path: Path):
    rows = [(3000.0 * (i // 10), 600 + i, [i]) for i in range(40)]
    name = mooncake(tmp_path / "t.jsonl", *rows)
    own = workload.make(name, None, 5, warmup=0, measured=40, times="trace")
    assert np.all(np.diff(own.arrival_s) > 0)
    faster = workload.make(name, 20.0, 5, warmup=0, measured=40, times="trace")
    assert faster.arrival_s[-1] == pytest.approx(40 / 20)
    assert np.array_equal(own.tokens, faster.tokens)


def test_file__goes_round(tmp_path: Path):
    name = mooncake(tmp_path / "t.jsonl", *((1000.0 * i, 600 + i, [i]) for i in range(5)))
    found = workload.make(name, None, 0, warmup=0, measured=12, times="trace")
    assert np.all(np.diff(found.arrival_s) > 0)
    assert sorted(set(found.tokens.tolist())) == [600, 601, 602, 603, 604]
    assert np.array_equal(found.tokens[:7], found.tokens[5:])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("chat", "workload 'chat': one of conversation, agent"),
        ("lognormal:x", "lognormal:MEAN"),
        ("lognormal:1", "MEAN from 16"),
        ("lognormal:100:0.5:1", "REUSE from 0 to below 1"),
        ("mooncake:", "a path is expected"),
        ("azure:/nowhere.csv", "there is no file /nowhere.csv"),
    ],
)
def test_check__names_what_does_not_fit(name: str, says: str):
    with pytest.raises(InputError, match=says):
        workload.check(name)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("yesterday,5,1", "line 3: TIMESTAMP 'yesterday'"),
        ("2023-11-16 18:15:50.9951690,0,1", "line 3: ContextTokens '0': from 1"),
        ("2023-11-16 18:15:50.9951690", "line 3: ContextTokens ''"),
        ("2023-11-16 18:15:40.0000000,7,1", "request 2 is before the one in front of it"),
    ],
)
def test_azure__broken_line_is_named(tmp_path: Path, row: str, says: str):
    name = azure(tmp_path / "t.csv", "2023-11-16 18:15:46.6805900,374,44", row)
    with pytest.raises(InputError, match=says):
        workload.rows(name, 4, seed=0)


def test_azure__other_columns(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column ContextTokens, TIMESTAMP"):
        list(workload.stream_azure(path))


def test_make__rate_and_times():
    with pytest.raises(InputError, match="a rate above 0"):
        workload.make("agent", None, 0)
    with pytest.raises(InputError, match="no times of its own"):
        workload.make("agent", 1.0, 0, times="trace")


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published traces are not here")
def test_published_files():
    file = PUBLISHED / "mooncake_conversation_trace.jsonl"
    found = workload.rows(f"mooncake:{file}", 12_031, seed=0)
    assert found.tokens.mean() == pytest.approx(12_035, rel=0.001)
    assert found.prefix.sum() / found.tokens.sum() == pytest.approx(0.374, abs=0.002)
    file = PUBLISHED / "AzureLLMInferenceTrace_conv.csv"
    found = workload.rows(f"azure:{file}", 19_366, seed=0)
    assert found.tokens.mean() == pytest.approx(1_155, rel=0.001)
