"""Of documents and of lines the same copy stays, and it is the one that plain Python puts first."""

from datetime import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.pipelines.curation.dedup.bench import Bench, Row
from tests.pipelines.curation.dedup.lines.bench import LineBench
from tests.pipelines.curation.dedup.lines.plain import name_rank

LINE = "a line that all have"
DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y.%m.%d")
TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.000000Z", "%Y%m%d%H%M%S", "%Y/%m/%d, %H:%M:%S")
MOMENTS = st.sampled_from(
    [datetime(2024, 1, 5), datetime(2024, 1, 5, 0, 0, 1), datetime(2023, 12, 31, 23), datetime(980, 2, 3)]
)


@st.composite
def dates(draw: st.DrawFn) -> tuple[datetime | None, str | None]:
    moment = draw(st.none() | MOMENTS)
    if moment is None:
        return None, draw(st.sampled_from([None, "", "yesterday"]))
    midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    form = draw(st.sampled_from(TIMES + (DAYS if midnight else ())))
    return moment, moment.strftime(form.replace("%Y", f"{moment.year:04d}"))


VALUES = st.none() | st.sampled_from([-1.5, -0.0, 0.0, 2.0, float("inf"), float("-inf")])
ROWS = st.lists(st.tuples(dates(), VALUES, st.integers(0, 2)), min_size=1, max_size=8)
PREFER = st.lists(
    st.tuples(st.sampled_from(["date", "quality", "length", "unmeasured"]), st.sampled_from(["high", "low"])),
    max_size=3,
)


@settings(max_examples=60)
@given(ROWS, PREFER, st.integers(1, 3))
@example(
    [((datetime(2024, 1, 5), "2024/01/05"), None, 0), ((datetime(2024, 1, 5), "2024-01-05T00:00:00Z"), None, 0)],
    [("date", "high")],
    1,
)
@example(
    [((datetime(2024, 1, 5), "2024/01/05"), None, 0), ((datetime(2023, 1, 5), "2023-01-05"), None, 0)],
    [("date", "low")],
    2,
)
@example([((None, ""), None, 0), ((datetime(2023, 1, 5), "2023-01-05"), None, 0)], [("date", "low")], 2)
def test_the_copy_that_stays_is_the_first(tmp_path_factory: pytest.TempPathFactory, found, prefer, units: int):
    folder = tmp_path_factory.mktemp("prefer")
    moments = [moment for (moment, _), _, _ in found]
    rows = [Row(f"s/{n:03d}", LINE + " " * spaces, date, value) for n, ((_, date), value, spaces) in enumerate(found)]

    def place(number: int) -> list[tuple[bool, float]]:
        """Smaller is sooner; what is missing is last either way."""
        values = []
        for by, first in prefer:
            moment, row = moments[number], rows[number]
            value = {
                "date": None if moment is None else (moment - datetime(1, 1, 1)).total_seconds(),
                "quality": row.quality,
                "length": len(row.text),
                "unmeasured": None,
            }[by]
            values.append((True, 0.0) if value is None else (False, -value if first == "high" else value))
        return values

    cut = [rows[unit::units] for unit in range(units)]
    wanted = [{"by": by, "first": first} for by, first in prefer]
    gone = Bench(folder).compare(cut, prefer=wanted)
    best = min(range(len(rows)), key=lambda number: (place(number), rows[number].id))
    assert {row.id for row in rows} - set(gone) == {rows[best].id}
    assert {kept for _, _, kept in gone.values()} <= {rows[best].id}

    left = LineBench(folder / "lines").compare(cut, prefer=wanted).texts
    best = min(range(len(rows)), key=lambda number: (place(number), name_rank(rows[number].id)))
    assert left == {rows[best].id: rows[best].text}
