"""What was promised, tried at full count: each module is a check with ``main(count=…) -> Checked``."""

from typing import NamedTuple


class Checked(NamedTuple):
    """What a check has found."""

    count: int  # cases that were really tried; fewer than asked for is a failure, and so is none
    result: str  # in words, with the figures: "200 of 200 load whole; 163 kills fell inside a write"
    failures: list[str] = []  # noqa: RUF012  # what went wrong, a line each; empty where all is well
