"""Who may reach whom on this machine, as a table of nftables (man 8 nft).

A service or a build calls no port that is not its business, and answers on none but its own. Only
the two packets that begin a connection are looked at. Nothing asks for connection tracking: a
machine that does without goes on doing so.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from kennel.builtin.systemd.config import SystemdConfig
from kennel.errors import ConfigError
from kennel.plugin.settings import Host

ALWAYS = frozenset({53, 80, 443})
"""Names, and the URLs of other services: reached even where `local_ports` is "closed"."""

OTHERS = "system.slice"
"""Where systemd puts what has no slice of its own: nothing of Kennel's."""

HERE = "fib daddr type { local, broadcast, multicast, anycast }"
"""Every address of this machine: 127.0.0.0/8, ::1, and those that others reach it by."""

CALL = "tcp flags & (fin | syn | rst | ack) == syn"
ANSWER = "tcp flags & (fin | syn | rst | ack) == (syn | ack)"
"""The first two packets of a connection, which are all that is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Whom the table tells apart, at the moment.

    `owners`: for each port, the user of the service that it was given to. `ours`: the users of
    all that runs for some ref: services, workers, builds.
    """

    owners: Mapping[int, int] = field(default_factory=dict)
    ours: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the table says, less what changes from day to day.

    `closed`: ports that services must not reach. `allowed`: ports that they may, whatever is
    closed; `strict`: nothing but those. `services`, `builders`: users. `spares_others`: whether
    other programs with dynamic users are told from services, which takes control groups v2.
    """

    table: str
    services: range
    closed: Sequence[range]
    allowed: frozenset[int] = frozenset()
    strict: bool = False
    builders: frozenset[int] = field(default_factory=frozenset)
    spares_others: bool = False

    def whole(self, users: Users) -> str:
        """Return the commands that put the whole table in place of the old one, in one step."""
        return f"{self.nothing()}table inet {self.table} {{\n{self._body(users)}}}\n"

    def changed(self, users: Users) -> str:
        """Return the commands that change the users alone."""
        sets = {"own": _pairs(users.owners), "ours": _list(users.ours)}
        flush = [f"flush set inet {self.table} {name}\n" for name in sets]
        fill = [
            f"add element inet {self.table} {name} {{ {elements} }}\n"
            for name, elements in sets.items()
            if elements
        ]
        return "".join([*flush, *fill])

    def nothing(self) -> str:
        """Return the commands after which there is no table, whether there was one or not."""
        return f"add table inet {self.table}\ndelete table inet {self.table}\n"

    def _body(self, users: Users) -> str:
        parts = (
            _set("services", "uid", _span(self.services), "flags interval; "),
            _set("builders", "uid", _list(self.builders)),
            _set("closed", PORT, ", ".join(map(_span, self.closed)), MERGED),
            _set("allowed", PORT, _list(self.allowed)),
            _set("own", f"uid . {PORT}", _pairs(users.owners)),
            _set("ours", "uid", _list(users.ours)),
            _chain("refused", "meta l4proto tcp counter reject with tcp reset", "counter reject"),
            _chain("builders", "th dport @allowed return", "th dport @closed jump refused"),
            _chain("services", *self._services()),
            _chain("answers", "meta skuid . tcp sport @own return", "counter drop"),
            _chain(
                "calls",
                f"meta skuid @services {HERE} jump services",
                f"meta skuid @builders {HERE} jump builders",
            ),
            _chain(
                "output",
                "type filter hook output priority filter; policy accept;",
                f"{CALL} jump calls",
                "meta l4proto udp jump calls",
                f"{ANSWER} tcp sport @closed meta skuid @ours jump answers",
            ),
        )
        return "".join(parts)

    def _services(self) -> Iterable[str]:
        if self.spares_others:
            yield f'socket cgroupv2 level 1 "{OTHERS}" return'
        yield "meta skuid . th dport @own return"
        yield "th dport @allowed return"
        yield "jump refused" if self.strict else "th dport @closed jump refused"


USERS = re.compile(r"(?ms)^\tset (own|ours) \{.*?^\t\}\n")
ELEMENTS = re.compile(r"(?s)elements = \{(.*?)\}")
PAIR = re.compile(r"(\d+) \. (\d+)")
"""What nft lists of the sets that change, and in them."""

PORT = "inet_service"
MERGED = "flags interval; auto-merge; "


def _set(name: str, kind: str, elements: str, flags: str = "") -> str:
    filled = f"elements = {{ {elements} }}" if elements else ""
    return f"  set {name} {{ type {kind}; {flags}{filled} }}\n"


def _chain(name: str, *rules: str) -> str:
    return f"  chain {name} {{\n" + "".join(f"    {rule}\n" for rule in rules) + "  }\n"


def _span(numbers: range) -> str:
    return f"{numbers.start}-{numbers.stop - 1}" if len(numbers) > 1 else str(numbers.start)


def _list(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _pairs(owners: Mapping[int, int]) -> str:
    return ", ".join(f"{uid} . {port}" for port, uid in sorted(owners.items()))


def parted(listing: str) -> tuple[str, Users]:
    """Return what nft lists of a table without its users, and the users."""
    inside = {found[1]: "".join(ELEMENTS.findall(found[0])) for found in USERS.finditer(listing)}
    pairs = PAIR.findall(inside.get("own", ""))
    ours = re.findall(r"\d+", inside.get("ours", ""))
    users = Users(
        owners={int(port): int(uid) for uid, port in pairs}, ours=frozenset(map(int, ours))
    )
    return USERS.sub("", listing), users


def closed_ports(config: SystemdConfig, host: Host) -> Sequence[range]:
    """Return the ports that no service has any business with but the one it is given."""
    own = urlsplit(host.api_url).port or 0  # 0: chosen when it starts, by tests
    single = {*config.deny_local_ports, own} - {0}
    return (host.ports, *(range(port, port + 1) for port in sorted(single)))


def rules_for(config: SystemdConfig, host: Host) -> Rules:
    """Return the rules that the settings ask for. Raises ConfigError if they contradict."""
    if both := sorted({*config.allow_local_ports} & {*config.deny_local_ports}):
        raise ConfigError(
            f"kennel.toml: [plugins.systemd] allow_local_ports: {both[0]} is in deny_local_ports"
            " as well: take it out of one of them"
        )
    if not config.users:
        raise ConfigError(
            f"kennel.toml: [plugins.systemd] dynamic_users: {config.dynamic_users!r} ends before it"
            ' begins; the usual is "61184-65519"'
        )
    strict = config.local_ports == "closed"
    return Rules(
        table=table_name(host.run_dir),
        services=config.users,
        closed=closed_ports(config, host),
        allowed=frozenset(config.allow_local_ports) | (ALWAYS if strict else frozenset()),
        strict=strict,
    )


def can_spare_others(config: SystemdConfig, cgroups: Path) -> bool:
    """Return whether services are never where other programs with dynamic users are.

    `cgroups`: where control groups are mounted.
    """
    top = OTHERS.removesuffix(".slice")
    apart = config.slice != OTHERS and not config.slice.startswith(f"{top}-")
    return apart and (cgroups / OTHERS).is_dir()


def table_name(run_dir: Path) -> str:
    """Return the name of the table of the Kennel that has this `run_dir`: each has its own."""
    return f"kennel_{sha256(bytes(run_dir.absolute())).hexdigest()[:8]}"
