"""An aarch64 Python with numpy, Pillow and onnxruntime's ARM kernels, run by qemu-user: no root rights, no container.

    python tests/support/arm_root.py FOLDER        then: FOLDER/python CPU script.py, CPU one of `PROCESSORS`

Packages come from Debian and PyPI, in the versions that this environment has; 400 MB. Needs Debian's apt-get.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

USERLAND = ("python3.11-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
EMULATOR = ("qemu-user",)
WHEELS = ("numpy", "onnxruntime", "pillow", "flatbuffers", "protobuf", "packaging")
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_17", "manylinux2014")
ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
ARMV82 = f"{ARMV8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
# name: (part number, features as Linux names them, what qemu is asked for)
PROCESSORS = {
    "cortex-a53": ("0xd03", ARMV8, "cortex-a53"),
    "cortex-a76": ("0xd0b", ARMV82, "cortex-a76"),
    "i8mm": ("0xd40", f"{ARMV82} i8mm bf16", "max,sme=off,pauth-impdef=on"),  # with SME, qemu 7.2 errs in int8 products
}


def apt(state: Path, architecture: str, *arguments: str) -> None:
    """apt-get with a state of its own: the machine's packages stay as they are."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    subprocess.run(["apt-get", "-qq", "-y", *settings, *arguments], check=True, stdout=subprocess.DEVNULL)


def install(state: Path, architecture: str, packages: Sequence[str], root: Path) -> None:
    """Debian packages with all that they need, unpacked below `root`."""
    apt(state, architecture, "update")
    apt(state, architecture, "install", "--download-only", "--no-install-recommends", *packages)
    root.mkdir(parents=True, exist_ok=True)
    for file in sorted((state / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", file, root], check=True)
        file.unlink()


def cpuinfo(part: str, features: str) -> str:
    """What an ARM Linux says of two cores: libraries choose kernels by it, and qemu-user would show the host's."""
    rows = {"BogoMIPS": "38.40", "Features": features, "CPU implementer": "0x41", "CPU architecture": "8"}
    rows |= {"CPU variant": "0x1", "CPU part": part, "CPU revision": "0"}
    return "".join(f"processor\t: {k}\n" + "".join(f"{n}\t: {v}\n" for n, v in rows.items()) + "\n" for k in range(2))


def build(root: Path) -> None:
    install(root / "apt-arm64", "arm64", USERLAND, root / "arm64")
    install(root / "apt-amd64", "amd64", EMULATOR, root / "qemu")
    wheels = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    python = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--upgrade"]
    subprocess.run([*command, *platforms, *python, "--target", root / "site", *wheels], check=True)
    for name, (part, features, _) in PROCESSORS.items():
        view = root / "processors" / name
        (view / "proc").mkdir(parents=True, exist_ok=True)
        for entry in ("usr", "lib", "etc"):
            link = view / entry
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../arm64/{entry}")
        (view / "proc/cpuinfo").write_text(cpuinfo(part, features))
    (root / "ready").touch()


def command(root: Path, processor: str) -> tuple[list[str], dict[str, str]]:
    """What runs Python on an emulated processor, and the environment that it needs."""
    _, _, cpu = PROCESSORS[processor]
    root = root.resolve()
    words = [root / "qemu/usr/bin/qemu-aarch64", "-L", root / "processors" / processor, "-cpu", cpu]
    words += ["-E", "LD_LIBRARY_PATH=", root / "arm64/usr/bin/python3.11"]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(root / "qemu/usr/lib/x86_64-linux-gnu"),
        "PYTHONHOME": str(root / "arm64/usr"),
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).resolve().parents[2]), str(root / "site"))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
    }
    return [str(w) for w in words], environment


if __name__ == "__main__":
    build(Path(sys.argv[1]))
