"""A head's ports: free, different, and named where there are too few."""

import socket

import pytest

from jobs import head


def test_ports_differ_and_a_taken_one_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = head._free_ports(4)
    monkeypatch.setattr(head, "_OURS", [first, *others])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        assert sorted(head._free_ports(3)) == sorted(others)
        with pytest.raises(OSError, match=r"4 free ports expected .* found 3"):
            head._free_ports(4)
