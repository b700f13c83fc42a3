"""What a server of the tests was asked, and whether its clients kept to what they were told."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from tests.servers.faults import Fault

TOLERANCE = 0.01
"""Seconds by which a client's clock may run ahead before a retry counts as early."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request. time: seconds since the server was made. attempt: how often this body had come.

    status: None where none was sent, and where a fault spoiled the rest. in_flight: requests under
    way when it came, itself included.
    """

    time: float
    path: str
    digest: str
    attempt: int
    in_flight: int
    fault: Fault | None
    status: int | None
    authorization: str | None


@dataclass(frozen=True, slots=True)
class Violation:
    """A body that came again `seconds` before the Retry-After it was given."""

    digest: str
    seconds: float


@dataclass
class Record:
    """What came in. Requests with equal paths and bodies are taken for attempts at one call.

    calls: in the order in which they ended; the last `keep` of them. answered: right responses.
    """

    keep: int | None = None
    faults: Counter[Fault] = field(default_factory=Counter)
    requests: int = 0
    answered: int = 0
    abandoned: int = 0
    in_flight: int = 0
    peak: int = 0
    violations: list[Violation] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    earliest: dict[str, float] = field(default_factory=dict)
    """By digest, when it may return: `time.monotonic`."""

    def __post_init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=self.keep)

    def arrive(self, digest: str, authorization: str | None) -> int:
        """A request begins. Returns which attempt at its body it is, from 1."""
        early = self.earliest.get(digest, 0.0) - time.monotonic()
        if early > TOLERANCE:
            self.violations.append(Violation(digest, early))
        if authorization is not None:
            self.authorizations.add(authorization)
        self.requests += 1
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.attempts[digest] += 1
        return self.attempts[digest]

    def wait(self, digest: str, seconds: float) -> None:
        """A Retry-After was given."""
        self.earliest[digest] = time.monotonic() + seconds

    def summary(self) -> dict[str, Any]:
        """Counts for a reader in another process.

        bodies: different requests. repeats: requests beyond the first of each body. early: seconds
        by which requests came before their Retry-After. refused_again: bodies that came again
        after a refusal (4xx but 429), of the calls that are kept.
        """
        statuses = Counter(call.status for call in self.calls)
        refused = {c.digest for c in self.calls if c.status and 400 <= c.status < 500} - {
            c.digest for c in self.calls if c.status == 429
        }
        return {
            "requests": self.requests,
            "answered": self.answered,
            "abandoned": self.abandoned,
            "peak": self.peak,
            "bodies": len(self.attempts),
            "repeats": self.requests - len(self.attempts),
            "faults": {fault.value: count for fault, count in sorted(self.faults.items())},
            "statuses": {str(status): count for status, count in statuses.items()},
            "early": [violation.seconds for violation in self.violations],
            "authorizations": sorted(self.authorizations),
            "refused": len(refused),
            "refused_again": sum(self.attempts[digest] > 1 for digest in refused),
        }
