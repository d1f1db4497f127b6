"""Say what a file is that is not an artifact."""

_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive or PyTorch file"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "gzip data"),
    (b"\xfd7zXZ", "xz data"),
    (b"BZh", "bzip2 data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a git-lfs pointer"),
)


def looks_like(start: bytes) -> str:
    """Guess from the first bytes (about 500 are enough) what a file holds.

    Returns:
        A noun phrase of printable characters, such as `a zip archive or PyTorch file`.
    """
    for signature, name in _SIGNATURES:
        if start.startswith(signature):
            return name
    if start[257:262] == b"ustar":
        return "a tar archive"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "HTML or XML"
    line = start.splitlines()[0][:60].decode("utf-8", "replace") if start else ""
    if line.strip() and line.isprintable() and "\ufffd" not in line:
        return f"text: {line!r}"
    return f"{len(start)} unknown bytes" if len(start) < 8 else "unknown binary data"
