"""aa_ray.training.watchdog ends a process that is silent for too long, and no other."""

import subprocess
import sys
import textwrap


def run(code: str) -> subprocess.CompletedProcess[str]:
    program = "import time\nfrom aa_ray.training import watchdog\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )


def test_silence_ends_the_process_and_says_where_it_was() -> None:
    ended = run("""
        def hangs():
            time.sleep(30)
        watchdog.arm(0.3)
        hangs()
        """)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr and "hangs" in ended.stderr


def test_signs_of_life_keep_it_and_disarming_ends_the_watch() -> None:
    ended = run("""
        watchdog.arm(0.5)
        for _ in range(20):
            time.sleep(0.05)
            watchdog.beat()
        watchdog.disarm()
        time.sleep(1)
        watchdog.beat()
        time.sleep(1)
        print("alive")
        """)
    assert (ended.returncode, ended.stdout) == (0, "alive\n")
