"""The routing table as Caddy takes it. Pure.

A route names files, never a port or a store path. Caddy reads them at request time, so that
what they say can change without Caddy being told:

    host → which files           one small route for each service and site
    files → where it goes        one proxy and one file server that all of them share
    redirect → its own address   one answer that all of them share

Sharing them keeps the table small: a thousand hosts are a thousand matchers, not a thousand
proxies that Caddy would have to build anew whenever one host is added.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from kennel.builtin.caddy import pages
from kennel.builtin.caddy.config import Config
from kennel.domain import Route, names

Json = dict[str, Any]

KIND, UPSTREAM, ROOT, ETAG = "kennel_kind", "kennel_upstream", "kennel_root", "kennel_etag"
TOLD, HIDDEN = "kennel_told", "kennel_hidden"
"""Where a redirect leads; "yes" for what search engines are to leave out."""

ASSET = (
    r"(?i)\.(?:avif|br|bmp|cjs|css|eot|gif|gz|ico|jpe?g|js|json|map|md|mjs|mp3|mp4|ogg|otf|pdf|png"
    r"|svg|ttf|txt|wasm|wav|webm|webmanifest|webp|woff2?|xml|zip|zst)$"
)
"""Paths that mean a file. In a single-page application a missing one is 404: an old chunk that
answers with the page's HTML would be kept by browsers as if it were the script."""

VALIDATORS = ["If-Modified-Since", "If-Unmodified-Since"]
"""Dates say nothing here: every file in the Nix store is from 1970."""
CONDITIONS = [*VALIDATORS, "If-None-Match", "If-Match", "If-Range", "Range"]
"""What could turn the page of an error into a 304 or 206."""
AWAY = "10s"
"""How long Kennel may take to listen again."""
SAID_BY_CLIENTS = ["Forwarded", "True-Client-Ip", "X-Client-Ip"]
"""Other spellings of X-Forwarded-For, which Caddy itself makes unforgeable."""


def subroute(routes: Iterable[Route], live: Path, config: Config, rest: list[Json]) -> Json:
    """Return the handler for all of Kennel's hosts, in an order that depends on nothing else.

    `rest`: what follows for hosts that are in no route.
    """
    close_delay = config.stream_close_delay
    ordered = [route for route in sorted(routes, key=_order) if route.hosts]
    said = _said(config)
    return {
        "handler": "subroute",
        "routes": [
            *(_host(route, str(live)) for route in ordered),
            *(_redirect(route, config) for route in ordered if route.redirects),
            *said,
            _when(KIND, ["redirect"], _told()),
            _when(KIND, ["service"], _guarded(UPSTREAM, _asleep(close_delay), _proxy(close_delay))),
            _when(KIND, ["site", "spa"], _guarded(ROOT, *_site())),
            *rest,
        ],
        "errors": {"routes": [*said, *_errors()]},
    }


def no_deployment() -> Json:
    """Return the route that answers where there is no deployment."""
    return {"handle": [pages.answer(pages.NO_DEPLOYMENT, 404)]}


def _order(route: Route) -> tuple[str, tuple[str, ...]]:
    return str(route.key), route.hosts


_folder_name = lru_cache(maxsize=1 << 14)(names.tenant)


def _host(route: Route, live: str) -> Json:
    """Return the route that looks up where a host's requests go.

    The ETag is read before the root: a switch between the two then gives the new content under
    the old ETag, which the next request puts right, and never the other way round.
    """
    place = f"{live}/{_folder_name(route.key.tenant)}/{route.key.name}"
    if not route.site:
        handlers = [_vars({KIND: "service", UPSTREAM: f"{{file.{place}.upstream}}"})]
    else:
        handlers = [
            _vars({ETAG: f"{{file.{place}.etag}}"}),
            _vars({KIND: "spa" if route.spa else "site", ROOT: f"{{file.{place}.site}}"}),
        ]
    if not route.indexed:
        handlers.append(_vars({HIDDEN: "yes"}))
    return {"match": [{"host": sorted(route.hosts)}], "handle": handlers}


def _redirect(route: Route, config: Config) -> Json:
    """Return the route of hosts that lead to the one that people are told."""
    to = _vars({KIND: "redirect", TOLD: config.url(route.hosts[-1])})
    return {"match": [{"host": sorted(route.redirects)}], "handle": [to]}


def _told() -> Json:
    """Return the handler that sends people on, with the path and the query that they came with."""
    location = f"{_var(TOLD)}{{http.request.uri}}"
    headers = {"Location": [location], "Cache-Control": ["no-store"]}
    return {"handler": "static_response", "status_code": 308, "headers": headers}


def _said(config: Config) -> list[Json]:
    """Return what is said with every answer, whoever it is from.

    A service may have its own word on HTTPS, and none on whether it is listed outside production.
    """
    found = [_when(HIDDEN, ["yes"], _says("X-Robots-Tag", "noindex"))]
    if config.hsts_seconds:
        name = "Strict-Transport-Security"
        own = {"require": {"headers": {name: None}}}
        found.append({"handle": [_says(name, f"max-age={config.hsts_seconds}", **own)]})
    return found


def _says(name: str, value: str, **more: Json) -> Json:
    return {"handler": "headers", "response": {"deferred": True, "set": {name: [value]}, **more}}


def _vars(values: Json) -> Json:
    return {"handler": "vars", **values}


def _var(name: str) -> str:
    return f"{{http.vars.{name}}}"


def _when(variable: str, values: list[str], *handlers: Json) -> Json:
    return {"match": [{"vars": {_var(variable): values}}], "handle": list(handlers)}


def _guarded(variable: str, *handlers: Json) -> Json:
    """Return a handler that refuses to go on with nothing: no root would be Caddy's own folder."""
    stop = _when(variable, [""], {"handler": "error", "status_code": 503})
    return {"handler": "subroute", "routes": [stop, *_each(handlers)]}


def _each(handlers: Iterable[Json]) -> list[Json]:
    return [h if "handle" in h else {"handle": [h]} for h in handlers]


def _proxy(close_delay: int) -> Json:
    """Return the proxy of every service. Everything is passed on as it comes."""
    return {**_any_proxy(close_delay, "1s"), "flush_interval": -1}


def _asleep(close_delay: int) -> Json:
    """Return the proxy to what listens on a socket, and wakes services: Kennel itself.

    It is away for a moment when it is started anew. It has to hear of visitors who give up, which
    Caddy does not tell everywhere where `flush_interval` is set. No connection to it is kept: each
    may carry the words of another tenant's service.
    """
    transport = {"protocol": "http", "keep_alive": {"enabled": False}}
    return {
        "match": [{"vars_regexp": {_var(UPSTREAM): {"pattern": "^unix/"}}}],
        "handle": [{**_any_proxy(close_delay, AWAY), "transport": transport}],
    }


def _any_proxy(close_delay: int, try_duration: str) -> Json:
    """Return a proxy to where the upstream's file says.

    It only tries again when nothing listens: the request has not been sent then, so it cannot be
    done twice.
    """
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _var(UPSTREAM)}],
        "load_balancing": {
            "try_duration": try_duration,
            "try_interval": "100ms",
            "retry_match": [{"method": ["-"]}],
        },
        "stream_close_delay": f"{close_delay}s",
        "headers": {
            "request": {
                "delete": SAID_BY_CLIENTS,
                "set": {"X-Real-Ip": ["{http.vars.client_ip}"]},
            }
        },
    }


def _site() -> list[Json]:
    """Return what serves files, in order.

    A site has one weak ETag, made from its store path: weak, because the same page is served in
    several encodings. `no-cache` makes browsers ask each time, and mostly hear 304.
    """
    return [
        {
            "match": [
                {"path_regexp": {"pattern": r"^/.*/\."}},
                {"path_regexp": {"pattern": r"^/\."}, "not": [{"path": ["/.well-known/*"]}]},
            ],
            "handle": [{"handler": "error", "status_code": 404}],
        },
        {
            "handler": "headers",
            "request": {"delete": VALIDATORS},
            "response": {"set": {"Etag": [_var(ETAG)], "Cache-Control": ["no-cache"]}},
        },
        {"handler": "headers", "response": {"deferred": True, "delete": ["Last-Modified"]}},
        {"match": [_unknown_page()], "handle": [{"handler": "rewrite", "uri": "/index.html"}]},
        # Not for HEAD: the length would be that of an empty body, compressed.
        {"match": [{"method": ["GET"]}], "handle": [_compress()]},
        _files(),
    ]


def _unknown_page() -> Json:
    path = "{http.request.uri.path}"
    there = {"root": _var(ROOT), "try_files": [path, f"{path}/index.html"]}
    return {
        "vars": {_var(KIND): ["spa"]},
        "method": ["GET", "HEAD"],
        "not": [{"file": there}, {"path_regexp": {"pattern": ASSET}}],
    }


def _compress() -> Json:
    return {"handler": "encode", "encodings": {"zstd": {}, "gzip": {}}, "prefer": ["zstd", "gzip"]}


def _files() -> Json:
    return {
        "handler": "file_server",
        "root": _var(ROOT),
        "precompressed": {"br": {}, "zstd": {}, "gzip": {}},
        "precompressed_order": ["br", "zstd", "gzip"],
    }


def _errors() -> list[Json]:
    bare = {
        "handler": "headers",
        "request": {"delete": CONDITIONS},
        "response": {"delete": ["Etag"], "set": {"Cache-Control": ["no-store"]}},
    }
    own = {"root": _var(ROOT), "try_files": ["/404.html"]}
    code = "{http.error.status_code}"
    return [
        {"handle": [bare]},
        {
            "match": [
                {
                    "vars": {_var(KIND): ["site", "spa"]},
                    "file": own,
                    "expression": f"{code} == 404",
                }
            ],
            "handle": [{"handler": "rewrite", "uri": "/404.html"}, _files()],
        },
        _error_page(404, pages.NOT_FOUND),
        _error_page(502, pages.NOT_ANSWERING),
        _error_page(503, pages.NOT_RUNNING),
        {"handle": [pages.answer(pages.OTHER, code)]},
    ]


def _error_page(status: int, page: tuple[str, str]) -> Json:
    return _when_status(status, pages.answer(page, status))


def _when_status(status: int, handler: Json) -> Json:
    matcher = {"vars": {"{http.error.status_code}": [str(status)]}}
    return {"match": [matcher], "handle": [handler]}
