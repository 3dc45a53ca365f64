"""Runs code in a process that has imported nothing of transformers, adapters and aa_ray.

A server imports once what these need, such as torch, and forks. A new interpreter would import that
for three seconds each time.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch", "torch._dynamo", "scipy.optimize", "scipy.stats", "sklearn.metrics", "pandas",
     "pyarrow.parquet", "huggingface_hub", "tokenizers"]
)  # fmt: skip


def run(code: str, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run code like ``python -c``; return its exit status and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        process = CONTEXT.Process(target=_execute, args=(code, arguments, folder))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(code, seconds)
        out, err = (Path(folder, name).read_text("utf-8") for name in ("out", "err"))
    return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def _execute(code: str, arguments: tuple[str, ...], folder: str) -> None:
    ours = {"transformers", "adapters", "aa_ray"} & sys.modules.keys()
    assert not ours, f"the server has imported {ours}"
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), stream.fileno())
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
