"""Everything that is measured, in one shape: figures for machines, tables for people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import (
    apart,
    buckets,
    databases,
    life,
    memory,
    numbers,
    passes,
    push,
    redeploys,
    resources,
    router,
    sweep,
    units,
    webhook,
)
from benchmarks.report import Cell, Table, ratio
from benchmarks.scale import Scale

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that is measured. `what`: in a line. `run` raises NoBox where it cannot be."""

    what: str
    run: Callable[[Scale], Figures]
    tables: Callable[[Figures], Sequence[Table]]


def _webhook_tables(figures: Figures) -> Sequence[Table]:
    ours, bare = figures["kennel"], figures["bare"]
    paced = next(key for key in ours if key.startswith("at_"))
    rows: list[Sequence[Cell]] = [
        [what, *(one := ours[key][of], other := bare[key][of], ratio(one, other))]
        for what, key, of in (
            (f"{paced.replace('_', ' ')}: p50 ms", paced, "p50_ms"),
            (f"{paced.replace('_', ' ')}: p99 ms", paced, "p99_ms"),
            ("as many as go: a second", "sustained", "per_second"),
            ("as many as go: p50 ms", "sustained", "p50_ms"),
            ("as many as go: p99 ms", "sustained", "p99_ms"),
        )
    ]
    note = (
        f"Kennel's are durable before they are answered; here an fsync is {figures['fsync_ms']} ms"
    )
    return [Table("Taking a webhook in", ["", "kennel", "bare route", "ratio"], rows, [note])]


def _router_tables(figures: Figures) -> Sequence[Table]:
    rows: list[Sequence[Cell]] = []
    for size, found in figures["sizes"].items():
        one, naive = found["one new host"], found.get("all again, one by one")
        rows.append([int(size), one, naive, ratio(one, naive), found["observe"], found["publish"]])
    columns = ["hosts", "one new host", "all again", "ratio", "look", "publish the same"]
    redeploy = figures["redeploy"]
    notes = [
        "`all again`: each route removed and added by a call of its own; not tried beyond a size.",
        (
            f"A redeployment's switch: {redeploy['switch']:.2f} ms, whatever the size;"
            f" {redeploy['requests']} requests meanwhile, {redeploy['failed']} failed,"
            f" {redeploy['cut']} WebSockets cut."
        ),
    ]
    return [Table("Caddy's table of hosts (medians, ms)", columns, rows, notes)]


def _unit_tables(figures: Figures) -> Sequence[Table]:
    process, systemd = figures["process"], figures["systemd"]
    there = isinstance(systemd, dict)
    rows: list[Sequence[Cell]] = [
        [key.removesuffix("_ms").replace("_", " "), systemd[key] if there else None, value]
        for key, value in process.items()
    ]
    title = f"{figures['units']} units (ms)"
    return [Table(title, ["", "systemd", "process"], rows, [] if there else [str(systemd)])]


SUBJECTS: Mapping[str, Subject] = {
    "webhook": Subject(
        "taking a webhook in, beside a bare route",
        lambda scale: webhook.run(scale.seconds),
        _webhook_tables,
    ),
    "passes": Subject(
        "a pass in which nothing changes, beside asking for each deployment",
        passes.run,
        passes.tables,
    ),
    "router": Subject(
        "one new host, beside adding each again; a redeployment's switch",
        lambda scale: router.run(scale, scale.one_by_one),
        _router_tables,
    ),
    "units": Subject(
        "starting, observing and stopping units",
        lambda scale: units.run(scale.units),
        _unit_tables,
    ),
    "push": Subject("from push to live, beside a script by hand", push.run, push.tables),
    "redeploys": Subject(
        "failed requests and cut WebSockets while pushes follow each other",
        redeploys.run,
        redeploys.tables,
    ),
    "life": Subject(
        "rollback, wake and teardown, and requests that fail meanwhile",
        life.run,
        life.tables,
    ),
    "sweep": Subject(
        "looking at every repository for lost webhooks, beside a fetch of each ref",
        sweep.run,
        sweep.tables,
    ),
    "resources": Subject(
        "a pass that asks for every database, beside asking for each",
        resources.run,
        resources.tables,
    ),
    "buckets": Subject(
        "a bucket and its key on Garage, beside making them by hand",
        buckets.run,
        buckets.tables,
    ),
    "numbers": Subject(
        "a Valkey number for a tenant, beside the commands by hand", numbers.run, numbers.tables
    ),
    "databases": Subject(
        "a new database, empty and from a template, beside the server's own and by hand",
        databases.run,
        databases.tables,
    ),
    "memory": Subject("what Kennel takes up, beside its Caddy", memory.run, memory.tables),
    "apart": Subject(
        "keeping services from each other's ports, beside not doing it", apart.run, apart.tables
    ),
}
