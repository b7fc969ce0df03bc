"""Reads kennel.json: what a commit wants to have running."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import msgspec

from kennel.build.shape import (
    VERSION,
    LimitsShape,
    ManifestShape,
    ReadyShape,
    ReleaseShape,
    SeedShape,
    ServiceShape,
    SiteShape,
    StaticSiteShape,
)
from kennel.build.shapecheck import problems
from kennel.domain import Limits, Manifest, Ready, Release, Seed, Service, Site
from kennel.errors import ManifestError

MOST_BYTES = 1024 * 1024
MOST_THINGS = 100
MOST_PROBLEMS = 20

RESERVED = re.compile(r"PORT|HOST|PATH|KENNEL_.*|LD_.*|NIX_.*")
"""Variables that belong to Kennel, or that decide what a program loads."""

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

EXAMPLE = """\
  outputs = { self, nixpkgs }: {
    packages.x86_64-linux.api = nixpkgs.legacyPackages.x86_64-linux.callPackage ./api.nix { };
    kennel.services.api = { };  # runs packages.x86_64-linux.api, which listens on $PORT
  };"""
"""What somebody who declares nothing yet has to write."""

NOTHING = (
    "nothing is declared: there is no service and no site. A flake declares them in its output"
    f" `kennel`, for example:\n{EXAMPLE}"
)


def parse(text: bytes) -> Manifest:
    """Return what a kennel.json says.

    Raises ManifestError with every problem, one a line: the path of a key and what is allowed.
    """
    if len(text) > MOST_BYTES:
        raise ManifestError(f"kennel.json has {len(text)} bytes; {MOST_BYTES} are allowed")
    return read(_decode(text))


def read(raw: object) -> Manifest:
    """Return what the decoded content of a kennel.json says. Raises ManifestError."""
    if raw is None:
        raise ManifestError(NOTHING)
    _refuse(_versions(raw))  # a newer one may well have keys we do not know
    _refuse(problems(raw, ManifestShape))
    shape = msgspec.convert(raw, ManifestShape)
    manifest = _manifest(shape)
    _refuse(
        [
            *_doubles(shape),
            *_deaf(shape),
            *_reserved(manifest),
            *_domains(shape),
            *_errands(shape),
        ]
    )
    count = len(manifest.services) + len(manifest.sites)
    if not count:
        raise ManifestError(NOTHING)
    if count > MOST_THINGS:
        raise ManifestError(f"{count} services and sites are declared; {MOST_THINGS} are allowed")
    return replace(
        manifest,
        release=_release(shape.release, manifest.services),
        seed=_seed(shape.seed, manifest.services),
    )


def _refuse(found: "list[str] | Iterator[str]") -> None:
    """Raise ManifestError if anything was found."""
    texts = list(found)
    if len(texts) > MOST_PROBLEMS:
        texts = [*texts[:MOST_PROBLEMS], f"and {len(texts) - MOST_PROBLEMS} problems more"]
    if texts:
        raise ManifestError("\n".join(texts))


def _decode(text: bytes) -> object:
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"kennel.json is no JSON that Kennel can read: {error}") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    doubles = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    if doubles:
        raise ManifestError(f"kennel.json has the key {doubles[0]!r} twice in one object")
    return dict(pairs)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _versions(raw: object) -> Iterator[str]:
    version = raw.get("version") if isinstance(raw, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and version != VERSION:
        advice = (
            "upgrade Kennel, or declare version 1"
            if version > VERSION
            else f"the only one so far is {VERSION}"
        )
        yield f"version: this Kennel reads version {VERSION}, not {version}: {advice}"


def _manifest(shape: ManifestShape) -> Manifest:
    sites = {name: _site(name, one, one.package) for name, one in (shape.sites or {}).items()}
    for name, one in (shape.static_sites or {}).items():
        sites[name] = _site(name, one, one.package_attr)
    return Manifest(
        services={name: _service(name, one) for name, one in (shape.services or {}).items()},
        sites=sites,
        resources=_resources(shape.resources),
        previews=shape.previews is not False and shape.preview_deployments is not False,
    )


def _site(name: str, shape: SiteShape | StaticSiteShape, package: str | None) -> Site:
    return Site(
        name=name,
        package=package or name,
        spa=bool(shape.spa),
        custom_domains=_custom_domains(shape),
        redirects=tuple(shape.redirects or ()),
    )


def _service(name: str, shape: ServiceShape) -> Service:
    return Service(
        name=name,
        package=shape.package or name,
        args=tuple(shape.args or ()),
        environment=shape.environment or {},
        custom_domains=_custom_domains(shape),
        redirects=tuple(shape.redirects or ()),
        ready=_ready(shape.ready or ReadyShape()),
        limits=_limits(shape.limits or LimitsShape()),
        port=shape.port is not False,
        schedule=shape.schedule,
        previews=shape.previews is not False,
    )


def _custom_domains(shape: ServiceShape | SiteShape | StaticSiteShape) -> tuple[str, ...]:
    single = () if shape.custom_domain is None else (shape.custom_domain,)
    return (*single, *(shape.custom_domains or ()))


def _ready(shape: ReadyShape) -> Ready:
    return Ready(path=shape.path, timeout=shape.timeout)


def _release(shape: ReleaseShape | None, services: Mapping[str, Service]) -> Release | None:
    return None if shape is None else Release(**_errand(shape, services))


def _seed(shape: SeedShape | None, services: Mapping[str, Service]) -> Seed | None:
    if shape is None:
        return None
    return Seed(**_errand(shape, services), production=bool(shape.production))


def _errand(shape: ReleaseShape | SeedShape, services: Mapping[str, Service]) -> dict[str, Any]:
    """Return what all commands have that are run once."""
    service = services[shape.service or next(iter(services))]
    found = {
        "service": service.name,
        "package": shape.package or service.package,
        "args": tuple(shape.args or ()),
    }
    return found if shape.timeout is None else {**found, "timeout": shape.timeout}


def _limits(shape: LimitsShape) -> Limits:
    memory = shape.memory_max
    return Limits(
        memory_max=size(memory) if isinstance(memory, str) else memory,
        cpu_weight=shape.cpu_weight,
        tasks_max=shape.tasks_max,
    )


def size(text: str) -> int:
    """Return the bytes that a text such as 512M stands for."""
    number = text.rstrip("KMGT")
    return int(number) * UNITS[text[len(number) :]]


def _resources(
    given: list[str] | Mapping[str, dict[str, Any] | None] | None,
) -> dict[str, dict[str, Any]]:
    if isinstance(given, Mapping):
        return {name: options or {} for name, options in given.items()}
    return {name: {} for name in given or ()}


def _doubles(shape: ManifestShape) -> Iterator[str]:
    kinds = {
        "services": set(shape.services or ()),
        "sites": set(shape.sites or ()),
        "static_sites": set(shape.static_sites or ()),
    }
    for name, times in Counter(name for names in kinds.values() for name in names).items():
        if times > 1:
            where = " and ".join(kind for kind, names in kinds.items() if name in names)
            yield f"{where} both have {name!r}: give one of them another name"


def _deaf(shape: ManifestShape) -> Iterator[str]:
    """Tell of services that do not listen, and have what only those have that do."""
    for name, service in (shape.services or {}).items():
        if service.port is not False and service.schedule is None:
            continue
        ready = service.ready or ReadyShape()
        without = {
            "port": True if service.port else None,
            "custom_domain": service.custom_domain,
            "custom_domains": service.custom_domains or None,
            "redirects": service.redirects or None,
            "ready.path": ready.path,
            "ready.timeout": ready.timeout,
        }
        why = "port is false" if service.schedule is None else "it has a schedule"
        for key in (key for key, value in without.items() if value is not None):
            yield f"services.{name}.{key}: {name} does not listen, because {why}: leave one out"


def _errands(shape: ManifestShape) -> Iterator[str]:
    """Tell of commands of no service, and of a seed command for nothing."""
    for name, errand in (("seed", shape.seed), ("release", shape.release)):
        if errand is not None:
            yield from _errand_problems(name, errand, shape)
    if shape.seed is not None and not shape.resources:
        yield "seed: it is run once there are resources, and none are listed: add them, or leave it"


def _errand_problems(
    name: str, errand: ReleaseShape | SeedShape, shape: ManifestShape
) -> Iterator[str]:
    if name in {**(shape.services or {}), **(shape.sites or {}), **(shape.static_sites or {})}:
        yield f"{name}: its run is called {name}: give the service or site of this name another"
    wanted, there = errand.service, sorted(shape.services or {})
    if not there:
        yield f"{name}: it finds the environment of a service, and there is none"
    elif wanted is None and len(there) > 1:
        yield f"{name}.service: whose environment does it find? Name one of {', '.join(there)}"
    elif wanted is not None and wanted not in there:
        near = difflib.get_close_matches(wanted, there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(there)}"
        yield f"{name}.service: there is no service {wanted!r}; {hint}"


def _reserved(manifest: Manifest) -> Iterator[str]:
    for service in manifest.services.values():
        for name in service.environment:
            if RESERVED.fullmatch(name):
                yield (
                    f"services.{service.name}.environment.{name}: is not yours to set: PORT, HOST,"
                    " PATH, KENNEL_*, LD_* and NIX_* are Kennel's"
                )


def things(manifest: Manifest) -> Iterator[Service | Site]:
    """Yield every service, then every site."""
    yield from manifest.services.values()
    yield from manifest.sites.values()


def packages_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield who wants a package, and its name; a command only for one of its own."""
    for thing in things(manifest):
        yield thing.name, thing.package
    for name, errand in manifest.errands.items():
        if errand.package != manifest.services[errand.service].package:
            yield name, errand.package


def _named(
    shape: ManifestShape,
) -> Iterator[tuple[str, ServiceShape | SiteShape | StaticSiteShape]]:
    """Yield the path of everything that may have hosts, and what it says."""
    for kind in ("services", "sites", "static_sites"):
        for name, one in (getattr(shape, kind) or {}).items():
            yield f"{kind}.{name}", one


def _domains(shape: ManifestShape) -> Iterator[str]:
    """Tell of hosts that are given twice, and of redirects that lead nowhere."""
    holders: dict[str, str] = {}
    for path, one in _named(shape):
        if one.custom_domain is not None and one.custom_domains:
            yield f"{path}: give custom_domain or custom_domains, not both"
        if one.redirects and not _custom_domains(one):
            yield f"{path}.redirects: they lead to the first of custom_domains: add one"
        for host in (*_custom_domains(one), *(one.redirects or ())):
            if host in holders:
                yield f"{path}: the host {host!r} is given twice: {holders[host]} has it already"
            holders.setdefault(host, path)
