"""Findings of checks: a measurement, its explanation and an action, a sentence each."""

import dataclasses
from collections.abc import Mapping, Sequence

from lipsync_jax.types import Json

OK, NOTE, FAULT, SKIPPED = "ok", "note", "FAULT", "skipped"


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: name of what was checked, e.g. `pairs`.
        state: OK; NOTE, worth knowing but no fault; FAULT; SKIPPED, without a result.
        measurement: what was measured, a sentence.
        explanation: what the measurement means, a sentence.
        action: what to do, a sentence; "" for nothing.
        cause: name of the fault where `state` is FAULT, else "".
        metrics: the numbers of the measurement, JSON values.
    """

    check: str
    state: str
    measurement: str
    explanation: str
    action: str = ""
    cause: str = ""
    metrics: Mapping[str, Json] = dataclasses.field(default_factory=dict)

    @property
    def text(self) -> str:
        """Returns one line if OK, else the three sentences on separate lines."""
        head = f"{self.state:8}{self.check:12}"
        if self.state == OK:
            return head + self.measurement
        rows = [f"{head}{self.cause.upper() or self.measurement}"]
        if self.cause:
            rows.append(f"  measured  {self.measurement}")
        rows.append(f"  means     {self.explanation}")
        return "\n".join(rows + [f"  do        {self.action}"] * bool(self.action))


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order of the checks."""

    findings: Sequence[Finding]

    @property
    def faults(self) -> list[str]:
        """Returns the names of the faults found, without duplicates."""
        return list(dict.fromkeys(f.cause for f in self.findings if f.state == FAULT))

    @property
    def verdict(self) -> str:
        """Returns the summary in one line."""
        if self.faults:
            return f"found: {', '.join(self.faults)}"
        skipped = [finding.check for finding in self.findings if finding.state == SKIPPED]
        return "nothing wrong was found" + (
            f"; not checked: {', '.join(skipped)}" if skipped else ""
        )

    @property
    def text(self) -> str:
        """Returns the text that the command prints."""
        return "\n".join([*(finding.text for finding in self.findings), "", self.verdict])

    def as_json(self) -> dict[str, Json]:
        """Returns JSON values."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"faults": self.faults, "findings": findings}
