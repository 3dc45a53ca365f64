"""Describes a machine's CPU, and lets a process give back free memory before it is measured."""

import os
import re
from pathlib import Path

import pyarrow as pa
import torch

from aa_ray.training import device

# Flags of x86 that decide how fast matrix products are, and what they bring.
FLAGS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 bfloat16",
    "amx_bf16": "AMX bfloat16",
}

# Variables that let libraries use AVX2 at most: torch's own kernels, oneDNN, and MKL.
AVX2_ONLY = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def features() -> str:
    """Return cores, memory and the CPU's features on one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    count = "1 core" if cores == 1 else f"{cores} cores"
    return f"{count}, {memory:.0f} GB of memory; CPU with {', '.join(flags()) or 'SSE'}"


def flags() -> list[str]:
    """Return the CPU's flags among ``FLAGS`` on Linux; elsewhere, torch's own word for them."""
    try:
        [line] = re.findall(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[:1]
    except (OSError, ValueError):
        return [torch.backends.cpu.get_cpu_capability()]
    return [title for flag, title in FLAGS.items() if flag in line.split()]


def in_use() -> str:
    """Return what this process's torch computes with; environment variables may restrict it."""
    capability = torch.backends.cpu.get_cpu_capability()
    bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return f"{capability}, bfloat16 {'in' if bfloat16 else 'not in'} oneDNN"


def give_back() -> None:
    """Return free memory to the system, so that a process's memory is what it still uses."""
    pa.default_memory_pool().release_unused()
    device.trim_heap()
