"""``aa-ray doctor``: prints the result of each check as soon as it is known."""

import json
from collections.abc import Iterator
from dataclasses import asdict

from aa_ray.errors import FAILED_WORK
from aa_ray.training import doctor, places
from aa_ray.training.doctor import BROKEN, Check


def report(address: str | None, results: str, backbone: str, data: str, as_json: bool) -> int:
    """Check this machine or all machines of a cluster, and return the exit status.

    Args:
        address: address of the cluster; None for this machine.
        results: URI of the results folder.
        backbone, data: as in a study's options.
        as_json: print a JSON list of objects with the fields of ``Check`` instead of lines.
    """
    checks = _here(results, backbone, data)
    if address is not None:
        from aa_ray.sweep.doctor import cluster  # with ray, which one machine does not need

        checks = cluster(address, results, backbone, data)
    found = []
    for check in checks:
        found.append(check)
        if not as_json:
            print(line(check, with_host=address is not None), flush=True)
    broken = [check for check in found if check.state == BROKEN]
    if as_json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    elif broken:
        print(f"\n{len(broken)} broken: {', '.join(dict.fromkeys(c.name for c in broken))}")
    return FAILED_WORK if broken else 0


def _here(results: str, backbone: str, data: str) -> Iterator[Check]:
    """The checks of this machine."""
    yield doctor.tried("results", lambda: places.results(results))
    yield doctor.tried("inputs", lambda: places.inputs(backbone, data))
    yield from doctor.checks()


def line(check: Check, with_host: bool = False) -> str:
    """State, name, text and advice in one line."""
    host = f"{check.host:<16} " if with_host else ""
    advice = f"; {check.advice}" if check.advice else ""
    return f"{host}{check.state:<6}  {check.name:<12}  {check.text}{advice}"
