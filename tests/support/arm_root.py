"""An aarch64 Python with numpy, Pillow, onnxruntime's and ExecuTorch's ARM kernels, run by qemu-user.

    python tests/support/arm_root.py FOLDER

Packages come from Debian and PyPI, in the versions that this environment has; 1 GB. Needs Debian's apt-get and
gcc, no root rights and no container.
What is compiled here is in `arm/`: ExecuTorch's stages for Python, and a plugin of qemu that counts instructions.
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
WHEELS = ("numpy", "onnxruntime", "executorch", "pillow", "flatbuffers", "protobuf", "packaging")
COMPILER = "ziglang==0.17.1"
HEADERS = "libstdc++-12-dev"  # of the standard library that ExecuTorch's wheel is linked against
LIBRARIES = ("executorch", "executorch_backend_xnnpack", "executorch_kernels_optimized", "executorch_threadpool")
CXX = (("usr/lib", "libstdc++.so.6"), ("lib", "libgcc_s.so.1"))
SOURCES = Path(__file__).with_name("arm")
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_17", "manylinux2014")
ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
ARMV82 = f"{ARMV8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
# name: (part number, features as Linux names them, what qemu is asked for)
PROCESSORS = {
    "cortex-a53": ("0xd03", ARMV8, "cortex-a53"),
    "cortex-a76": ("0xd0b", ARMV82, "cortex-a76"),
    "i8mm": ("0xd40", f"{ARMV82} i8mm bf16", "max,sme=off,pauth-impdef=on"),  # with SME, qemu 7.2 errs in int8 products
}


def apt(state: Path, architecture: str, *arguments: str, cwd: Path | None = None) -> None:
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
    words = ["apt-get", "-qq", "-y", *settings, *arguments]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=cwd)


def install(state: Path, architecture: str, packages: Sequence[str], root: Path) -> None:
    """Debian packages with all that they need, unpacked below `root`."""
    apt(state, architecture, "update")
    apt(state, architecture, "install", "--download-only", "--no-install-recommends", *packages)
    unpack(state / "cache/archives", root)


def unpack(folder: Path, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.glob("*.deb")):
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
    apt(root / "apt-arm64", "arm64", "download", HEADERS, cwd=root)  # alone: it needs a compiler otherwise
    unpack(root, root / "headers")
    wheels = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    python = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--upgrade"]
    subprocess.run([*command, *platforms, *python, "--target", root / "site", *wheels], check=True)
    subprocess.run([*command, "--target", root / "zig", COMPILER], check=True)
    compile_executorch(root)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", SOURCES / "count_instructions.c", "-o", plugin(root)], check=True)
    for name, (part, features, _) in PROCESSORS.items():
        view = root / "processors" / name
        (view / "proc").mkdir(parents=True, exist_ok=True)
        for entry in ("usr", "lib", "etc"):
            link = view / entry
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../arm64/{entry}")
        (view / "proc/cpuinfo").write_text(cpuinfo(part, features))
    (root / "ready").touch()


def executorch_library(root: Path) -> Path:
    return root.resolve() / "libexecutorch_stage.so"


def plugin(root: Path) -> Path:
    return root.resolve() / "count_instructions.so"


def compile_executorch(root: Path) -> None:
    """Against libstdc++, as the wheel was: its types hold a std::variant, which another library lays out otherwise."""
    wheel, headers, system = root / "site/executorch", root / "headers/usr/include", root / "arm64"
    includes = [headers / "c++/12", headers / "aarch64-linux-gnu/c++/12", wheel / "include"]
    includes.append(wheel / "include/executorch/runtime/core/portable_type/c10")
    words = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-gnu.2.36", "-O2", "-std=c++17"]
    words += ["-shared", "-fPIC", "-DC10_USING_CUSTOM_GENERATED_MACROS", "-nostdinc++", "-nostdlib++"]
    words += [word for path in includes for word in ("-I", str(path))]
    words += [str(SOURCES / "executorch_stage.cpp"), "-o", str(executorch_library(root)), f"-L{wheel / 'lib'}"]
    words += ["-Wl,--no-as-needed", *(f"-l{name}" for name in LIBRARIES), f"-Wl,-rpath,{(wheel / 'lib').resolve()}"]
    words += [str(system / f"{at}/aarch64-linux-gnu/{name}") for at, name in CXX]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(root / "zig")})


def command(root: Path, processor: str, count_to: Path | None = None) -> tuple[list[str], dict[str, str]]:
    """What runs Python on an emulated processor, and the environment that it needs.

    `count_to` gets the instructions that ran, at each mark that the program makes (arm/count_instructions.c).
    """
    _, _, cpu = PROCESSORS[processor]
    root = root.resolve()
    words = [root / "qemu/usr/bin/qemu-aarch64", "-L", root / "processors" / processor, "-cpu", cpu]
    if count_to is not None:
        words += ["-plugin", f"{plugin(root)},out={count_to}"]
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
    build(Path(sys.argv[1]).resolve())
