"""Damage to the bytes of a file, as caused by disks, networks, editors and people."""

from collections.abc import Callable

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Draw one to three changes, each at a place relative to the file's length."""
    changes = draw(st.lists(st.sampled_from(sorted(_CHANGES)), min_size=1, max_size=3))
    places = [(draw(st.floats(0, 1)), draw(st.floats(0, 1))) for _ in changes]
    noise = draw(st.binary(min_size=1, max_size=40))

    def damage(content: bytes) -> bytes:
        for name, (start, stop) in zip(changes, places, strict=True):
            low, high = sorted((int(start * len(content)), int(stop * len(content))))
            content = _CHANGES[name](content, low, high, noise)
        return content

    return damage


def _flip(content: bytes, low: int, high: int, noise: bytes) -> bytes:
    if low >= len(content):
        return content
    flipped = content[low] ^ (1 << (noise[0] % 8))
    return content[:low] + bytes([flipped]) + content[low + 1 :]


_CHANGES: dict[str, Callable[[bytes, int, int, bytes], bytes]] = {
    "flip": _flip,
    "truncate": lambda content, low, high, noise: content[:low],
    "drop the head": lambda content, low, high, noise: content[low:],
    "zeros": lambda content, low, high, noise: (
        content[:low] + bytes(high - low) + content[high:]
    ),
    "insert": lambda content, low, high, noise: content[:low] + noise + content[low:],
    "overwrite": lambda content, low, high, noise: (
        content[:low] + noise + content[low + len(noise) :]
    ),
    "cut out": lambda content, low, high, noise: content[:low] + content[high:],
    "repeat": lambda content, low, high, noise: content[:high] + content[low:],
    "head": lambda content, low, high, noise: noise + content[len(noise) :],
    "empty": lambda content, low, high, noise: b"",
    "noise": lambda content, low, high, noise: noise,
}  # fmt: skip
