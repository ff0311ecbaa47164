"""Private data in texts: `candidates` finds where it may be, `detectors` what it is, `replacement` what it becomes.

`presidio`, an extra, finds what has no form and no checksum, such as names.
"""

from pipelines.curation.privacy.candidates import candidates
from pipelines.curation.privacy.detectors import Type, find
from pipelines.curation.privacy.presidio import Presidio, PresidioSettings
from pipelines.curation.privacy.replacement import Style, key_from, replacement

__all__ = ["Presidio", "PresidioSettings", "Style", "Type", "candidates", "find", "key_from", "replacement"]
