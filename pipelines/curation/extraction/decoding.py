"""Bytes to text."""

from __future__ import annotations


def decode(data: bytes, charset: str | None = None, html: bool = True) -> str:
    """Bytes as text: by the declared character set if it is one, else by what the content looks like."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    encoding = charset
    if encoding is None:
        encoding = detect_encoding(data, from_html_meta=html) or "utf-8"
    try:
        return bytes_to_str(data, encoding, fallback_encodings=("utf-8", "windows-1252"))
    except LookupError:
        return bytes_to_str(data, detect_encoding(data, from_html_meta=html) or "utf-8")
