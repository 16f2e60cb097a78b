"""Tar files block by block (POSIX.1-1988 ustar), and what webdataset 1.0 makes of their members."""

import re

BLOCK = 512
_NAME = re.compile(r"([0-9]+)\.([a-z0-9]+)")
IMAGES = frozenset(
    [
        "avif",
        "bin",
        "bmp",
        "gif",
        "heic",
        "heif",
        "jp2",
        "jpg",
        "pbm",
        "pgm",
        "png",
        "pnm",
        "ppm",
        "tif",
        "tiff",
        "webp",
    ]
)


def members(data):
    """Name and bytes of each member; AssertionError for anything but plain files with owner 0 and time 0."""
    assert len(data) % BLOCK == 0
    assert data.endswith(bytes(2 * BLOCK)), "an archive ends with two blocks of zeros"
    found = []
    position = 0
    while position < len(data) - 2 * BLOCK:
        header = data[position : position + BLOCK]
        assert header[257:265] == b"ustar\x0000"
        assert int(header[148:156].rstrip(b"\0 "), 8) == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
        assert header[156:157] == b"0", "not a plain file"
        mode, owner, group, time = (
            _octal(header[start:end]) for start, end in ((100, 108), (108, 116), (116, 124), (136, 148))
        )
        assert (mode, owner, group, time) == (0o644, 0, 0, 0)
        assert not header[157:257].strip(b"\0"), "a link"
        assert not header[265:329].strip(b"\0"), "names of owners"
        assert not header[345:].strip(b"\0"), "a name in two parts"
        name = header[:100].rstrip(b"\0").decode("ascii")
        size = _octal(header[124:136])
        start = position + BLOCK
        content = data[start : start + size]
        assert len(content) == size
        position = start + size + -size % BLOCK
        assert not data[start + size : position].strip(b"\0"), "padding that is not zero"
        found.append((name, content))
    assert position == len(data) - 2 * BLOCK
    return found


def _octal(field):
    assert field.endswith(b"\0")
    return int(field[:-1], 8)


def tar_samples(data):
    """Suffix to bytes for each sample, by key: what a reader that groups neighbours of one key sees."""
    found = {}
    last = None
    for name, content in members(data):
        match = _NAME.fullmatch(name)
        assert match, name
        key, suffix = match.groups()
        assert key == last or key not in found, "the members of a sample are not side by side"
        assert suffix not in found.setdefault(key, {}), "two members of one sample have one suffix"
        found[key][suffix] = content
        last = key
    for key, parts in found.items():
        assert len(parts) == 2, key
        assert "json" in parts, key
        (image,) = parts.keys() - {"json"}
        assert image in IMAGES, image
    return found
