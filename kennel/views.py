"""What the daemon tells people and scripts: the JSON of the control socket and of `--json`.

Times are seconds since the epoch, UTC. Keys are only ever added.
"""

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that is shown."""


class Deployment(View, frozen=True):
    """A line of `kennel status`: a service or site of a ref, or a ref that has none yet.

    `name` and `kind` ("service", "site") are "" for a ref of which nothing is live yet. `state`
    is one of: live, queued, building, starting, failing, failed, cancelled, waiting, removing,
    kept, asleep, stopped, scheduled.
    `why` says more where there is more to say. `commit` and `build` are what is live, or what is
    on its way. `next_state` is that of a newer build of the ref, "" where there is none. `pinned`:
    it neither sleeps nor expires.
    """

    project: str
    ref: str
    name: str
    kind: str
    environment: str
    url: str
    urls: list[str]
    state: str
    why: str
    commit: str
    build: int | None
    next_state: str
    since: float
    pinned: bool = False


class Build(View, frozen=True):
    """A line of `kennel builds`. `state`: queued, building, built, done, failed, cancelled."""

    id: int
    project: str
    ref: str
    environment: str
    commit: str
    state: str
    reason: str
    trusted: bool
    created_at: float
    started_at: float | None
    built_at: float | None
    finished_at: float | None
    urls: list[str]


class Project(View, frozen=True):
    """A line of `kennel projects`. Secrets are shown as references, never as values."""

    name: str
    forge: str
    full_name: str
    clone_url: str
    default_branch: str
    domains: list[str]
    secret: str | None
    token: str | None
    ssh_key: str | None
    previews: bool
    refs: int
    removed: bool


class NewProject(View, frozen=True, forbid_unknown_fields=True):
    """What `kennel projects add` sends. Only `url` is needed: the rest is read from it."""

    url: str
    name: str | None = None
    forge: str = "forgejo"
    full_name: str | None = None
    default_branch: str = "main"
    domains: list[str] = []
    secret: str | None = None
    token: str | None = None
    ssh_key: str | None = None
    previews: bool = True


class DeployRequest(View, frozen=True, forbid_unknown_fields=True):
    """What `kennel deploy` sends: build the head of this ref now."""

    project: str
    ref: str


class Order(View, frozen=True, forbid_unknown_fields=True):
    """What is ordered to be done with a ref. `ref` is as people write it: `main`, `pr-42`."""

    project: str
    ref: str


class RollbackOrder(Order, frozen=True):
    """What `kennel rollback` sends. `to`: the build; None: the good one before what is live."""

    to: int | None = None


class PinOrder(Order, frozen=True):
    """What `kennel pin` sends."""

    pinned: bool = True


class ApproveOrder(Order, frozen=True):
    """What `kennel approve` sends.

    `commit`: what has to be the head, or its beginning. `every`: later commits too. `withdraw`:
    no new commit any more.
    """

    commit: str | None = None
    every: bool = False
    withdraw: bool = False


class Done(View, frozen=True):
    """What became of an order, in words."""

    message: str


class Removal(View, frozen=True):
    """A ref that would be removed with too many others. `expired`: the forge still has it."""

    project: str
    ref: str
    environment: str
    expired: bool


class SweepOrder(View, frozen=True, forbid_unknown_fields=True):
    """What `kennel sweep` sends. `project`: None for all. `force`: however many refs may go."""

    project: str | None = None
    force: bool = False


class Repair(View, frozen=True):
    """A ref of which no webhook told. `kind`: "changed", "gone", or "held" for what is left as is.

    `why` says what was done, or why nothing was.
    """

    ref: str
    kind: str
    commit: str
    why: str


class Swept(View, frozen=True):
    """What came of a look at a project's repository. `problem`: what could not be done, or ""."""

    project: str
    repairs: list[Repair]
    problem: str


class Step(View, frozen=True):
    """A line of `kennel plan`: what the next pass would do, and why."""

    tenant: str
    step: str
    why: str


class Resource(View, frozen=True):
    """A line of `kennel resources`: something that is on a server.

    `resource`: as manifests call it; `name`: as the server does. `size`: bytes; None: it cannot be
    told. `orphan`: Kennel knows of no such ref.
    """

    project: str
    ref: str
    resource: str
    name: str
    size: int | None
    detail: str
    orphan: bool


class Resources(View, frozen=True):
    """What there is, and why it is not known of others. `unreachable`: resource → why."""

    resources: list[Resource]
    unreachable: dict[str, str]


class Command(View, frozen=True):
    """A command of a provisioner: `kennel RESOURCE NAME PROJECT [REF] [ARGUMENT]`.

    `ref`: whether it is about one ref. `argument`: what a further word is called; None: there is
    none. `warning`: what it does that cannot be undone; it has to be confirmed then.
    """

    resource: str
    name: str
    help: str
    ref: bool
    argument: str | None
    warning: str | None


class CommandOrder(View, frozen=True, forbid_unknown_fields=True):
    """A command of a provisioner that is given. `confirmed`: the person knows the warning."""

    resource: str
    command: str
    project: str
    ref: str | None = None
    argument: str | None = None
    confirmed: bool = False


class Told(View, frozen=True):
    """A line that a command tells; the last one is `over`, with the `problem` if it failed."""

    line: str = ""
    problem: str = ""
    over: bool = False


def line(view: View) -> bytes:
    """Return a view as a line of a stream."""
    return msgspec.json.encode(view) + b"\n"


class Delivery(View, frozen=True):
    """A webhook that came in, and what became of it."""

    id: int
    forge: str
    event: str
    project: str
    delivery_id: str
    received_at: float
    handled_at: float | None
    outcome: str


class Provider(View, frozen=True):
    """A provider in use and how it is: `problem` is "" when all is well."""

    kind: str
    name: str
    problem: str


class Health(View, frozen=True):
    """The daemon itself.

    `repairs`: how many webhooks it has made up for. `unswept`: why the repositories of projects
    cannot be asked what they have, or what is not done about it unasked.
    """

    version: str
    started_at: float
    passes: int
    last_pass_seconds: float
    providers: list[Provider]
    repairs: int = 0
    unswept: dict[str, str] = {}


class Problem(View, frozen=True):
    """Every answer that is not a success."""

    error: str
