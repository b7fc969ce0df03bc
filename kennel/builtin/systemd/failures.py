"""Why units failed.

systemd forgets a failed unit at once (CollectMode=inactive-or-failed); its last words stay here.
"""

import signal
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

KEPT = 1000
"""Units remembered at most; the oldest go first."""

EXITED = 1
"""CLD_EXITED, as ExecMainCode has it; 2 and 3 are killed and dumped."""
OWN = {"exit-code", "signal", "core-dump", "oom-kill"}
"""Results that a program brings about itself, once it is executed."""
ENDS = {EXITED: "exit-code", 2: "signal", 3: "core-dump"}

STEPS = {
    200: "its working directory cannot be entered (200/CHDIR)",
    203: "its program cannot be executed (203/EXEC)",
    217: "its user cannot be made (217/USER)",
    218: "its capabilities cannot be dropped (218/CAPABILITIES)",
    219: "its cgroup cannot be made (219/CGROUP)",
    226: "its sandbox cannot be made (226/NAMESPACE)",
    228: "its system call filter cannot be set (228/SECCOMP)",
    233: "its runtime directory cannot be made (233/RUNTIME_DIRECTORY)",
}
BEFORE_EXEC = range(200, 246)
"""What systemd itself exits with between fork and exec (man 5 systemd.exec)."""

RESULTS = {
    "oom-kill": "it used more memory than it may (oom-kill)",
    "timeout": "did not start or stop in time",
    "watchdog": "its watchdog was not served",
    "start-limit-hit": "was started too often",
    "resources": "systemd could not give it what it needs (environment file, cgroup, user)",
    "protocol": "did not do what its type demands",
    "success": "",
}


@dataclass(slots=True)
class _Unit:
    result: str = "success"
    reason: str = ""
    restarts: int = 0
    executed: bool = False
    failed: bool = False
    stale: bool = False


class Failures:
    """What the signals of Kennel's units said about failing."""

    def __init__(self) -> None:
        self._units: OrderedDict[str, _Unit] = OrderedDict()

    def changed(self, unit: str, properties: Mapping[str, object]) -> None:
        """Take note of a `PropertiesChanged` of the interface Service."""
        known = self._of(unit)
        known.result = str(properties.get("Result", known.result))
        known.restarts = _int(properties, "NRestarts") or known.restarts
        code, status = _int(properties, "ExecMainCode"), _int(properties, "ExecMainStatus")
        if known.result != "success":
            known.reason = describe(known.result, code, status)
            known.executed = executed(properties)
        elif code == EXITED and status == 0:
            known.reason = ""

    def learn(self, unit: str, properties: Mapping[str, object]) -> None:
        """Take note of how a service ended last, by its properties."""
        known = self._of(unit)
        known.result = str(properties.get("Result", "success"))
        known.reason = ended(properties)
        known.stale = False

    def knows(self, unit: str) -> bool:
        """Return whether all was heard that happened to a unit since it began."""
        known = self._units.get(unit)
        return known is not None and not known.stale

    def begin(self, unit: str) -> None:
        """Drop what was known of a unit that begins now: all that happens to it will be heard."""
        self.forget(unit)
        self._of(unit)

    def lost(self) -> None:
        """Take note that signals were missed."""
        for known in self._units.values():
            known.stale = True

    def removed(self, unit: str) -> None:
        """Take note of a `UnitRemoved`: systemd has given the unit up, or it ended well."""
        known = self._units.get(unit)
        if known is None:
            return
        if known.result == "success":
            del self._units[unit]
        else:
            known.failed = True

    def was_executed(self, unit: str) -> bool:
        """Return whether the unit's program was there and failed by itself, be it at once."""
        known = self._units.get(unit)
        return known is not None and known.executed

    def forget(self, unit: str) -> None:
        """Drop what is known: the unit starts anew, or is not wanted any more."""
        self._units.pop(unit, None)

    def reason(self, unit: str) -> str:
        """Return why the unit failed last, or ""."""
        known = self._units.get(unit)
        return known.reason if known else ""

    def restarts(self, unit: str) -> int:
        """Return how often the unit was started again, as far as that was heard."""
        known = self._units.get(unit)
        return known.restarts if known else 0

    def given_up(self) -> Mapping[str, str]:
        """Return unit → reason of everything that failed for good and was collected."""
        return {name: known.reason for name, known in self._units.items() if known.failed}

    def _of(self, unit: str) -> _Unit:
        known = self._units.setdefault(unit, _Unit())
        self._units.move_to_end(unit)
        while len(self._units) > KEPT:
            self._units.popitem(last=False)
        return known


def describe(result: str, code: int, status: int) -> str:
    """Say in words how a main process ended. `code`: CLD_*; `status`: of exit, or the signal."""
    if result in RESULTS:
        return RESULTS[result]
    if result == "exit-code" and code == EXITED:
        return STEPS.get(status, f"exited with status {status}")
    if result in {"signal", "core-dump"}:
        dumped = " (core dumped)" if result == "core-dump" else ""
        return f"killed by {_signal(status)}{dumped}"
    return f"failed ({result})"


def executed(properties: Mapping[str, object]) -> bool:
    """Return whether a service that failed did so by itself, and not before it was executed."""
    result, status = properties.get("Result"), _int(properties, "ExecMainStatus")
    return result in OWN and not (result == "exit-code" and status in BEFORE_EXEC)


def ended(properties: Mapping[str, object]) -> str:
    """Say how the last run of a service ended, by its properties; "" if it did well, or not yet.

    They remember it after `Result` was reset, though not that there was no memory or no time.
    """
    code, status = _int(properties, "ExecMainCode"), _int(properties, "ExecMainStatus")
    result = str(properties.get("Result", "success"))
    if result == "success" and (code, status) != (EXITED, 0):
        result = ENDS.get(code, result)
    return describe(result, code, status)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _int(properties: Mapping[str, object], name: str) -> int:
    value = properties.get(name, 0)
    return value if isinstance(value, int) else 0
