"""Lines of texts as a table, for rules that drop lines; and the texts that are left.

`table` measures every line of a batch in one scan; a rule compares columns and says which lines stay; `assemble`
writes the texts without the others; `spans` accounts for what went.
"""

from pipelines.curation.lines.assembly import STAYS, assemble, spans
from pipelines.curation.lines.table import PATTERNS, Lines, table

__all__ = ["PATTERNS", "STAYS", "Lines", "assemble", "spans", "table"]
