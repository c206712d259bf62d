# SPDX-License-Identifier: Apache-2.0
"""What the guest boots: the kernel, an initramfs with its modules, and the tree of tools that lies
over the host's root."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import packages

HERE = Path(__file__).parent
# crc32_generic: without it rdma_rxe adds no device
MODULES = (
    *("crc32_generic", "virtio_pci", "9p", "9pnet_virtio", "overlay"),
    *("rdma_rxe", "ib_uverbs", "rdma_ucm", "veth"),
)
FOLDERS = (
    *("arch/x86/crypto/", "crypto/", "lib/", "net/", "fs/9p/", "fs/overlayfs/", "fs/netfs/"),
    *("fs/fscache/", "drivers/infiniband/", "drivers/virtio/", "drivers/net/", "security/"),
)
PROVIDER = "usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav34.so"


@dataclass(frozen=True)
class Image:
    kernel: Path
    initramfs: Path
    release: str  # as 6.1.0-57-amd64


# --- modules ---


def module_name(path: str) -> str:
    return Path(path).name.split(".ko")[0].replace("-", "_")


def plain(path: str, content: bytes) -> bytes:
    """A module as the guest's insmod takes it."""
    if path.endswith(".xz"):
        return lzma.decompress(content)
    if not path.endswith(".ko"):
        raise packages.Missing(f"{path}: compressed in a way that cannot be undone here")
    return content


def depends(content: bytes) -> list[str]:
    """What a module says in its .modinfo."""
    found = re.search(rb"\0depends=([\w,-]*)\0", content)
    names = found[1].decode().split(",") if found else []
    return [name.replace("-", "_") for name in names if name]


def in_order(modules: dict[str, bytes], wanted: tuple[str, ...]) -> list[str]:
    """Those and all that they need, each behind what it needs. What is none is built in."""
    order: list[str] = []

    def add(name: str) -> None:
        if name not in modules or name in order:
            return
        for other in depends(modules[name]):
            add(other)
        order.append(name)

    for name in wanted:
        add(name)
    return order


# --- the archive that the kernel unpacks (cpio, "newc") ---


def entry(name: str, content: bytes, mode: int) -> bytes:
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def archive(files: dict[str, bytes]) -> bytes:
    folders = ("bin", "dev", "host", "lib", "proc", "root", "rw", "sys", "tools")
    parts = [entry(name, b"", 0o040755) for name in folders]
    parts += [entry(name, content, 0o100755) for name, content in files.items()]
    return b"".join([*parts, entry("TRAILER!!!", b"", 0)])


def make(store: packages.Store, folder: Path) -> Image:
    """Kept in the folder for the next time, by what they are made of."""
    kernel_package, busybox = store.kernel(), store.get("busybox-static")
    script = (HERE / "init").read_bytes()
    key = hashlib.sha256(
        b"".join(
            (
                *(packages.digest(one).encode() for one in (kernel_package, busybox)),
                script,
                Path(__file__).read_bytes(),
            )
        )
    ).hexdigest()[:16]
    release = re.sub(r"^linux-image-|_.*$", "", kernel_package.name)
    image = Image(folder / f"vmlinuz-{key}", folder / f"initramfs-{key}.gz", release)
    if image.kernel.is_file() and image.initramfs.is_file():
        return image
    store.say(f"making the guest's image with {release}")
    modules: dict[str, bytes] = {}
    kernel = b""
    start = "lib/modules/"

    def wanted(name: str) -> bool:
        inside = re.sub(r"^(usr/)?lib/modules/[^/]+/kernel/", "", name)
        return name.startswith("boot/vmlinuz-") or (
            start in name and ".ko" in name and inside.startswith(FOLDERS)
        )

    for name, content in packages.files(kernel_package, wanted):
        if name.startswith("boot/vmlinuz-"):
            kernel = content
        else:
            modules[module_name(name)] = plain(name, content)
    order = in_order(modules, MODULES)
    if not kernel or "rdma_rxe" not in order:
        raise packages.Missing(f"{kernel_package.name} has no kernel, or none with rdma_rxe")
    files = {"init": script, "bin/busybox": packages.one_file(busybox, "bin/busybox")}
    files |= {f"lib/{n:02d}-{name}.ko": modules[name] for n, name in enumerate(order)}
    write(image.initramfs, gzip.compress(archive(files), 1))
    write(image.kernel, kernel)
    return image


def write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    descriptor, beside = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


# --- what lies over the host's root in the guest ---


def tools(store: packages.Store, folder: Path, libraries: Path) -> None:
    """The provider for rxe, for the libibverbs of NIXL's wheel, in the place where that looks.

    The wheel has one under a name of its own, and no provider but for hardware; Debian's has the
    same interface and is made to look for the wheel's by patchelf.
    """
    providers, patchelf = store.get("ibverbs-providers"), store.get("patchelf")
    verbs = next(libraries.glob("libibverbs-*.so*"), None)
    if not verbs:
        raise packages.Missing(f"NIXL's wheel has no libibverbs in {libraries}")
    program = folder / "patchelf"
    program.write_bytes(packages.one_file(patchelf, "usr/bin/patchelf"))
    program.chmod(0o755)
    driver = folder / "tools" / "etc" / "libibverbs.d" / "rxe.driver"
    provider = folder / "tools" / "usr" / "lib64" / "libibverbs" / Path(PROVIDER).name
    for path, name in ((driver, "etc/libibverbs.d/rxe.driver"), (provider, PROVIDER)):
        path.parent.mkdir(parents=True)
        path.write_bytes(packages.one_file(providers, name))
    for change in (["--replace-needed", "libibverbs.so.1", verbs.name], ["--set-rpath", libraries]):
        subprocess.run([program, *change, provider], check=True)
    shutil.copymode(verbs, provider)
