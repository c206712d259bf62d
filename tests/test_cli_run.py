# SPDX-License-Identifier: Apache-2.0
"""`mfs run`, and how `mfs` ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mfs_transport import __version__
from mfs_transport.commands import group
from mfs_transport.launch import preload
from mfs_transport.native import UCX_SHIM, InputError

PRINT = """
import json, os
print(json.dumps({name: os.environ.get(name) for name in os.environ["ASK"].split()}))
"""


def mfs(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`mfs` as a user would run it, in an environment without any MFS_ variable."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MFS_", "UCX_", "NIXL_"))}
    clean.pop("LD_PRELOAD", None)
    return subprocess.run(
        [sys.executable, "-m", "mfs_transport", *arguments],
        cwd=cwd,
        env={**clean, "HOME": str(cwd), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def seen(
    names: str, *options: str, cwd: Path, argv: tuple[str, ...] = (), **environ: str
) -> dict[str, str | None]:
    """The variables `names` as a program sees them that `mfs run` has started."""
    program = [sys.executable, "-c", PRINT]
    done = mfs("run", *options, "--", *argv, *program, cwd=cwd, ASK=names, **environ)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def one_line(done: subprocess.CompletedProcess[str], status: int) -> str:
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("mfs: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_run__environment_of_the_program(tmp_path: Path):
    names = "MFS_ENABLE MFS_POLICY MFS_WINDOW LD_PRELOAD NIXL_UCX_DEEPBIND"
    assert seen(names, "--policy", "edf", cwd=tmp_path, NIXL_UCX_DEEPBIND="1") == {
        "MFS_ENABLE": "1",
        "MFS_POLICY": "edf",
        "MFS_WINDOW": None,  # a default needs no variable
        "LD_PRELOAD": str(UCX_SHIM),
        "NIXL_UCX_DEEPBIND": "0",
    }


def test_run__settings_of_file_and_environment_reach_the_program(tmp_path: Path):
    (tmp_path / "mfs.toml").write_text('[mfs]\npolicy = "fifo"\nwindow = "1m"\n')
    found = seen(
        "MFS_POLICY MFS_WINDOW MFS_NCCL_CHANNELS MFS_ENABLE UCX_TCP_SNDBUF",
        *("--set", "MFS_NCCL_CHANNELS=4"),
        cwd=tmp_path,
        MFS_WINDOW="2m",
        MFS_ENABLE="0",
        UCX_TCP_SNDBUF="1m",
    )
    assert found == {
        "MFS_POLICY": "fifo",
        "MFS_WINDOW": "2m",
        "MFS_NCCL_CHANNELS": "4",
        "MFS_ENABLE": "1",
        "UCX_TCP_SNDBUF": "1m",  # the user's own stays
    }


def test_run__sockets_are_as_ucx_makes_them(tmp_path: Path):
    """A small one costs a sender that is short of a core a third: what it holds is what moves."""
    assert seen("UCX_TCP_SNDBUF UCX_TCP_RCVBUF", cwd=tmp_path) == {
        "UCX_TCP_SNDBUF": None,
        "UCX_TCP_RCVBUF": None,
    }


def test_run__nested_in_itself_loads_the_shim_once(tmp_path: Path):
    inner = (sys.executable, "-m", "mfs_transport", "run", "--")
    found = seen("LD_PRELOAD MFS_POLICY", "--policy", "edf", cwd=tmp_path, argv=inner)
    assert found == {"LD_PRELOAD": str(UCX_SHIM), "MFS_POLICY": "edf"}


def test_preload__in_front_of_the_users_own():
    ours = Path("/x/libmfs_ucx.so")
    assert preload("", ours) == "/x/libmfs_ucx.so"
    assert preload("/a.so /b.so", ours) == "/x/libmfs_ucx.so:/a.so:/b.so"
    assert preload("/a.so:/x/libmfs_ucx.so", ours) == "/a.so:/x/libmfs_ucx.so"
    with pytest.raises(InputError, match="/my home"):
        preload("", Path("/my home/libmfs_ucx.so"))


@pytest.mark.parametrize(
    "runtime",
    ["libasan.so.8", "/usr/lib/libtsan.so.2", "/l/libclang_rt.asan-x86_64.so", "liblsan.so.0"],
)
def test_preload__behind_what_must_come_first(runtime: str):
    ours = Path("/x/libmfs_ucx.so")
    assert preload(f"{runtime}:/a.so", ours) == f"{runtime}:/x/libmfs_ucx.so:/a.so"
    assert preload(f"/a.so {runtime}", ours) == f"/a.so:{runtime}:/x/libmfs_ucx.so"


def test_run__a_program_with_the_runtime_of_a_sanitizer(tmp_path: Path):
    """ASan ends a program in which another library was loaded before it."""
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    build = ["gcc", "-fsanitize=address", "-o", str(tmp_path / "main"), str(source)]
    if subprocess.run(build, capture_output=True, check=False).returncode != 0:
        pytest.skip("gcc has no ASan")
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    runtime = str(Path(found.stdout.strip()).resolve())
    done = mfs("run", "--", str(tmp_path / "main"), cwd=tmp_path, LD_PRELOAD=runtime)
    assert "does not come first" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_run__print_env_is_shell_code(tmp_path: Path):
    done = mfs("run", "--set", "MFS_PORT=a b'$c", "--print-env", cwd=tmp_path)
    assert done.returncode == 0
    assert all(line.startswith("export ") for line in done.stdout.splitlines())
    shell = subprocess.run(
        ["sh", "-c", f'{done.stdout}\nprintf %s "$MFS_PORT"'], capture_output=True, text=True
    )
    assert shell.stdout == "a b'$c"


def test_run__status_and_output_are_the_programs(tmp_path: Path):
    done = mfs("run", "--", "sh", "-c", "echo out; exit 7", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (7, "out\n")


def test_run__signals_are_as_without_it(tmp_path: Path):
    # Python ignores SIGPIPE; a program that inherits that never ends behind `| head`
    done = mfs("run", "--", "sh", "-c", "kill -PIPE $$; echo survived", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (-13, "")


def test_run__program_that_cannot_start(tmp_path: Path):
    data = tmp_path / "data"
    data.write_text("no program")
    assert "no-such-program" in one_line(mfs("run", "--", "no-such-program", cwd=tmp_path), 127)
    assert str(data) in one_line(mfs("run", "--", str(data), cwd=tmp_path), 126)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run",), "no command given"),
        (("run", "--policy", "nice", "--", "true"), "MFS_POLICY=nice"),
        (("run", "--set", "MFS_POLCY=edf", "--", "true"), "MFS_POLICY"),
        (("run", "--set", "MFS_NCCL_CHANNELS", "--", "true"), "NAME=VALUE"),
        (("run", "--config", "none.toml", "--", "true"), "none.toml"),
        (("run", "--policy", "edf", "--set", "MFS_POLICY=off", "--", "true"), "given twice"),
        (("run", "--print-env", "--", "true"), "--print-env"),
        (("run", "--nope"), "--nope"),
        (("rum",), "rum"),
    ],
)
def test_bad_input__one_line_and_status_2(tmp_path: Path, arguments: tuple[str, ...], says: str):
    assert says in one_line(mfs(*arguments, cwd=tmp_path), 2)


def test_bad_input__in_the_environment(tmp_path: Path):
    found = mfs("run", "--", "true", cwd=tmp_path, MFS_NCCL_CHANNELS="x")
    assert "MFS_NCCL_CHANNELS=x" in one_line(found, 2)


def test_version(tmp_path: Path):
    assert mfs("--version", cwd=tmp_path).stdout == f"mfs {__version__}\n"


def subcommands() -> list[str]:
    return group.list_commands(click.Context(group))


@pytest.mark.parametrize("name", subcommands())
def test_help__has_an_example(tmp_path: Path, name: str):
    done = mfs(name, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Example:" in done.stdout
    assert f"mfs {name}" in done.stdout.partition("Example:")[2]


def test_subcommands():
    assert {"run", "info", "doctor"} <= set(subcommands())


def test_without_click__one_line_says_what_to_install(tmp_path: Path):
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError(name='click')\n")
    done = mfs("info", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert "pip install mfs-transport[cli]" in one_line(done, 2)


def copy_of_the_package(folder: Path) -> Path:
    """One that stands before the installed one for a process that starts in `folder`."""
    package = folder / "mfs_transport"
    shutil.copytree(UCX_SHIM.parent, package, ignore=shutil.ignore_patterns("testbed", "*.pyc"))
    return package


def test_subcommand__that_lacks_a_package_breaks_itself_alone(tmp_path: Path):
    package = copy_of_the_package(tmp_path)
    (package / "commands" / "plot.py").write_text("import no_such_package\n")
    message = one_line(mfs("plot", "--help", "x", cwd=tmp_path), 2)
    assert "no_such_package is not installed" in message
    assert "pip install mfs-transport[bench]" in message
    listed = mfs("--help", cwd=tmp_path)
    assert listed.returncode == 0
    assert "(needs no_such_package, which is not installed)" in listed.stdout


def test_subcommand__is_a_file_without_an_underscore(tmp_path: Path):
    package = copy_of_the_package(tmp_path)
    (package / "commands" / "hello.py").write_text(
        "import click\n\n\n@click.command()\ndef command():\n    click.echo('hello')\n"
    )
    assert mfs("hello", cwd=tmp_path).stdout == "hello\n"
    assert "'_files'" in one_line(mfs("_files", cwd=tmp_path), 2)
