"""What a diagnosis says: one finding a check, in three sentences."""

import dataclasses
from collections.abc import Mapping, Sequence

from lipsync_jax.types import Json

OK, NOTE, FAULT, SKIPPED = "ok", "note", "FAULT", "skipped"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One check's answer.

    Attributes:
        check: what was looked at, e.g. `pairs`.
        state: OK; NOTE, worth knowing but no reason to stop; FAULT; SKIPPED, could not be told.
        measured: what was measured, a sentence.
        means: what that means, a sentence.
        do: what to do about it, a sentence; "" where nothing is to be done.
        fault: the cause's name where `state` is FAULT, else "".
        figures: the numbers behind it, JSON values.
    """

    check: str
    state: str
    measured: str
    means: str
    do: str = ""
    fault: str = ""
    figures: Mapping[str, Json] = dataclasses.field(default_factory=dict)

    @property
    def text(self) -> str:
        """A line where all is well; the three sentences on lines of their own where not."""
        head = f"{self.state:8}{self.check:12}"
        if self.state == OK:
            return head + self.measured
        rows = [f"{head}{self.fault.upper() or self.measured}"]
        if self.fault:
            rows.append(f"  measured  {self.measured}")
        rows.append(f"  means     {self.means}")
        return "\n".join(rows + [f"  do        {self.do}"] * bool(self.do))


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All findings, in the order in which they were made."""

    findings: Sequence[Finding]

    @property
    def faults(self) -> list[str]:
        """Names of the causes found; [] where nothing is wrong."""
        return list(dict.fromkeys(f.fault for f in self.findings if f.state == FAULT))

    @property
    def verdict(self) -> str:
        """One line."""
        if self.faults:
            return f"found: {', '.join(self.faults)}"
        untold = [finding.check for finding in self.findings if finding.state == SKIPPED]
        return "nothing wrong was found" + (f"; not told: {', '.join(untold)}" if untold else "")

    @property
    def text(self) -> str:
        """What the command prints."""
        return "\n".join([*(finding.text for finding in self.findings), "", self.verdict])

    def as_json(self) -> dict[str, Json]:
        """JSON values."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"faults": self.faults, "findings": findings}
