"""What stands where private data stood: a tag, a stable pseudonym, or an example that nobody owns."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from typing import Literal

from pipelines import storage

Style = Literal["tag", "pseudonym", "example"]

TAGS = {
    "email": "<EMAIL>",
    "phone": "<PHONE>",
    "ip_address": "<IP_ADDRESS>",
    "iban": "<IBAN>",
    "card": "<CARD>",
    "national_id": "<NATIONAL_ID>",
    "secret": "<SECRET>",
}
EXAMPLES = {
    "email": "name@example.org",  # RFC 2606
    "phone": "+1-202-555-0143",  # NANPA: 555-0100 to 555-0199
    "ip_address": "192.0.2.1",  # RFC 5737
    "iban": "XX00 0000 0000 0000",
    "card": "0000 0000 0000 0000",
    "national_id": "000-00-0000",
    "secret": "<SECRET>",
}


def key_from(variable: str | None, location: str | None) -> bytes:
    """The secret key of pseudonyms, from an environment variable or a file.

    Raises ValueError, which names the place and never the key, when there is none or it has less than 16 bytes.
    """
    if variable is not None:
        key, where = os.environ.get(variable, "").encode(), f"environment variable {variable}"
    elif location is not None:
        key, where = storage.read_bytes(location).strip(), location
    else:
        raise ValueError("pseudonyms need a secret key: set key_variable or key_file")
    if len(key) < 16:
        raise ValueError(f"{where}: expected a secret key of at least 16 bytes, found {len(key)}")
    return key


def replacement(kind: str, value: bytes, style: Style, key: bytes | None) -> str:
    """What a value becomes. A pseudonym is the same wherever the value is, and says nothing without the key."""
    tag = TAGS.get(kind, f"<{kind.upper()}>")
    if style == "example":
        return EXAMPLES.get(kind, tag)
    if style == "tag" or key is None:
        return tag
    plain = re.sub(rb"[\s().-]", b"", value).lower() if kind != "email" else value.lower()
    digest = hmac.new(key, kind.encode() + b"\0" + plain, hashlib.sha256).digest()
    # Letters only, so that no detector takes a pseudonym for a number.
    name = "".join(chr(97 + byte % 26) for byte in digest[:10])
    return f"{tag[:-1]}_{name}>"
