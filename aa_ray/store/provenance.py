"""The provenance of a row: code, packages, machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

# --version only needs the commit, neither torch nor pyarrow.
if TYPE_CHECKING:
    import torch

    from aa_ray.store.schema import EnvironmentColumns

PACKAGES = ("aa-ray", "adapters", "datasets", "numpy", "ray", "scikit-learn", "scipy", "torch",
            "transformers")  # fmt: skip


def commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this package runs from, and whether it has uncommitted changes.

    For an installed wheel, it is the commit from which the wheel was built. (None, None) if neither
    is known. A package that is installed somewhere below another project's checkout is not part of
    it.
    """
    file = Path(__file__).resolve()
    folder = file.parents[1]  # aa_ray/
    try:
        _git(folder, "ls-files", "--error-unmatch", str(file))
        found = _git(folder, "rev-parse", "HEAD")
        # Untracked files count only inside the package; others cannot change a result.
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        added = _git(folder, "status", "--porcelain", "--", str(folder))
    except (OSError, subprocess.CalledProcessError):
        return _built_from(file.parents[1] / "_version.py")
    return found, bool(changed or added)


def _built_from(file: Path) -> tuple[str | None, bool | None]:
    """The commit in the file that a build writes, and whether the checkout had changes.

    (None, None) if the file is not that of an installed wheel: otherwise the code beside it may
    have changed since.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        files = importlib.metadata.files("aa-ray") or []
        if any(Path(str(path.locate())).resolve() == file for path in files):
            values = dict(re.findall(r'^(\w+) = "(.*)"$', file.read_text("utf-8"), re.M))
            if commit := re.fullmatch(r"g([0-9a-f]{40})", values.get("COMMIT", "")):
                # setuptools-scm adds the date if files had changed.
                return commit[1], bool(re.search(r"[+.]d\d{8}$", values["VERSION"]))
    return None, None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def versions(device: torch.device) -> str:
    """JSON object: package -> installed version, including Python and, on a GPU, its software."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        found[package] = importlib.metadata.version(package)
    return json.dumps(found | (gpu_versions() if device.type == "cuda" else {}), sort_keys=True)


def gpu_versions() -> dict[str, str]:
    """Versions of the software that can change a result on a GPU, as far as it is installed."""
    import torch

    found = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["triton"] = importlib.metadata.version("triton")
    found["nvidia-driver"] = driver_version()
    return {name: str(version) for name, version in found.items() if version}


def driver_version() -> str | None:
    """Version of NVIDIA's driver; None if nvidia-smi does not report it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split("\n")[0].strip() or None


def host() -> str:
    """The machine's name."""
    return platform.node()


def device_name(device: torch.device) -> str:
    """The GPU's model, or cpu with the number of threads in use."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def environment(device: torch.device, code: tuple[str | None, bool | None]) -> EnvironmentColumns:
    """The hardware and software of this process; ``code`` is the result of ``commit``."""
    return {
        "host": host(),
        "device": device_name(device),
        "commit": code[0],
        "dirty": code[1],
        "versions": versions(device),
    }


def device_memory_bytes(device: torch.device) -> int | None:
    """GPU memory that this process may use; None for a CPU."""
    import torch

    if device.type != "cuda":
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    return int(total * torch.cuda.get_per_process_memory_fraction(device.index))


def reset_peak_memory(device: torch.device) -> None:
    """Reset the measurement of peak memory, if the device supports it (CUDA)."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int:
    """CUDA: peak of allocated memory since the reset. CPU: peak resident size of the process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
