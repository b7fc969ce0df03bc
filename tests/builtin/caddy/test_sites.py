"""How a folder of files is served."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kennel.builtin.caddy import CaddyRouter
from kennel.domain import Files
from kennel.errors import Rejected
from kennel.testing.router import MAIN, site
from kennel.testing.serving import write_site

DOCS, APP = "docs.contract.localhost", "app.contract.localhost"
TABLE = [site(MAIN, "docs", DOCS), site(MAIN, "app", APP, spa=True)]

PAGES: dict[str, str | bytes] = {
    "index.html": "<h1>home</h1>" * 100,
    "404.html": "<h1>lost</h1>",
    "guide/index.html": "<h1>guide</h1>",
    "empty/nothing.txt": "",
    "app.js": "let x = 1;" * 200,
    "app.js.br": b"as brotli",
    "app.js.gz": b"as gzip",
    "app.js.zst": b"as zstd",
    ".env": "SECRET",
    ".git/config": "SECRET",
    "guide/.htpasswd": "SECRET",
    ".well-known/security.txt": "Contact: us",
    ".well-known/.hidden": "SECRET",
}


@pytest.fixture
async def router(embedded: CaddyRouter, tmp_path: Path) -> CaddyRouter:
    files = write_site(tmp_path / "one", PAGES)
    await embedded.switch(MAIN, {"docs": files, "app": files})
    await embedded.publish(TABLE)
    return embedded


async def test_pages_and_their_types(router: CaddyRouter, visit: Any) -> None:
    for path, start, kind in [
        ("/", "<h1>home", "text/html; charset=utf-8"),
        ("/index.html", "<h1>home", "text/html; charset=utf-8"),
        ("/guide/", "<h1>guide", "text/html; charset=utf-8"),
        ("/app.js", "let x", "text/javascript; charset=utf-8"),
        ("/app.js?v=2", "let x", "text/javascript; charset=utf-8"),
    ]:
        page = await visit(router, DOCS, path)
        assert (page.status, page.headers["content-type"]) == (200, kind)
        assert page.text.startswith(start)
        assert page.headers["cache-control"] == "no-cache"
        assert "last-modified" not in page.headers


async def test_folders_have_a_slash_and_files_have_none(router: CaddyRouter, visit: Any) -> None:
    for path, canonical in [("/guide", "/guide/"), ("/app.js/", "/app.js")]:
        page = await visit(router, DOCS, path)
        assert (page.status, page.headers["location"]) == (308, canonical)
        assert page.headers["cache-control"] == "no-cache"


async def test_an_unchanged_page_is_not_sent_again(router: CaddyRouter, visit: Any) -> None:
    etag = (await visit(router, DOCS)).headers["etag"]
    assert etag.startswith('W/"')
    for tag in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        page = await visit(router, DOCS, headers={"If-None-Match": tag})
        assert (page.status, page.raw) == (304, b"")
        assert page.headers["etag"] == etag


async def test_a_redeploy_of_the_same_length_is_sent(
    router: CaddyRouter, visit: Any, tmp_path: Path
) -> None:
    """Every file of the Nix store is from 1970, so dates and lengths say nothing."""
    old = await visit(router, DOCS)
    changed = {**PAGES, "index.html": "<h1>HOME</h1>" * 100}
    files = write_site(tmp_path / "two", changed)
    await router.switch(MAIN, {"docs": files, "app": files})
    new = await visit(router, DOCS, headers={"If-None-Match": old.headers["etag"]})
    assert (new.status, new.text) == (200, changed["index.html"])
    assert new.headers["etag"] != old.headers["etag"]
    for date in ("Thu, 01 Jan 1970 00:00:01 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"):
        page = await visit(router, DOCS, headers={"If-Modified-Since": date})
        assert page.status == 200


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("br, zstd, gzip", "br", b"as brotli"),
        ("zstd, gzip", "zstd", b"as zstd"),
        ("gzip", "gzip", b"as gzip"),
        ("identity", None, b"let x = 1;" * 200),
    ],
)
async def test_files_that_are_compressed_already(
    router: CaddyRouter, visit: Any, accepted: str, encoding: str | None, body: bytes
) -> None:
    page = await visit(router, DOCS, "/app.js", headers={"Accept-Encoding": accepted})
    assert page.headers.get("content-encoding") == encoding
    assert page.raw == body
    assert page.headers["content-type"].startswith("text/javascript")
    assert "accept-encoding" in page.headers["vary"].lower()
    again = await visit(
        router,
        DOCS,
        "/app.js",
        headers={"Accept-Encoding": accepted, "If-None-Match": page.headers["etag"]},
    )
    assert again.status == 304


async def test_other_pages_are_compressed_on_the_way(router: CaddyRouter, visit: Any) -> None:
    page = await visit(router, DOCS, headers={"Accept-Encoding": "gzip"})
    assert page.headers["content-encoding"] == "gzip"
    assert len(page.raw) < 200
    tag = page.headers["etag"]
    again = await visit(router, DOCS, headers={"Accept-Encoding": "gzip", "If-None-Match": tag})
    assert again.status == 304


async def test_head_says_what_get_would(router: CaddyRouter, visit: Any) -> None:
    page = await visit(router, DOCS, method="HEAD", headers={"Accept-Encoding": "gzip"})
    assert (page.status, page.raw) == (200, b"")
    assert page.headers["content-length"] == str(len(PAGES["index.html"]))
    assert page.headers["etag"]


async def test_ranges(router: CaddyRouter, visit: Any) -> None:
    page = await visit(router, DOCS, "/app.js", headers={"Range": "bytes=4-7"})
    assert (page.status, page.text) == (206, "x = ")
    assert page.headers["content-range"] == "bytes 4-7/2000"
    beyond = await visit(router, DOCS, "/app.js", headers={"Range": "bytes=9000-"})
    assert beyond.status == 416
    # A weak ETag cannot vouch for a part, so the whole is sent.
    tag = page.headers["etag"]
    whole = await visit(router, DOCS, "/app.js", headers={"Range": "bytes=4-7", "If-Range": tag})
    assert whole.status == 200


async def test_only_reading_is_allowed(router: CaddyRouter, visit: Any) -> None:
    page = await visit(router, DOCS, method="POST", content=b"x")
    assert page.status == 405
    assert page.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("label", [DOCS, APP])
@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/%2eenv",
        "//.env",
        "/guide/../.env",
        "/.git/config",
        "/.git/",
        "/guide/.htpasswd",
        "/.well-known/.hidden",
        "/.well-known/../.env",
        "/.nowhere",
    ],
)
async def test_hidden_files_stay_hidden(
    router: CaddyRouter, visit: Any, label: str, path: str
) -> None:
    page = await visit(router, label, path)
    assert page.status in (301, 308, 404)
    assert "SECRET" not in page.text


async def test_well_known_files_are_not_hidden(router: CaddyRouter, visit: Any) -> None:
    page = await visit(router, DOCS, "/.well-known/security.txt")
    assert (page.status, page.text) == (200, "Contact: us")


@pytest.mark.parametrize("path", ["/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/%00"])
async def test_nothing_outside_is_served(router: CaddyRouter, visit: Any, path: str) -> None:
    page = await visit(router, DOCS, path)
    assert page.status in (400, 404)
    assert "root:" not in page.text


async def test_an_unknown_page_is_404_whatever_is_asked_for(
    router: CaddyRouter, visit: Any
) -> None:
    tag = (await visit(router, DOCS)).headers["etag"]
    for headers in ({}, {"If-None-Match": tag}, {"If-None-Match": "*"}, {"Range": "bytes=0-3"}):
        page = await visit(router, DOCS, "/nowhere", headers=headers)
        assert (page.status, page.text) == (404, "<h1>lost</h1>")
        assert page.headers["cache-control"] == "no-store"
        assert "etag" not in page.headers
    assert (await visit(router, DOCS, "/empty/")).status == 404
    assert (await visit(router, DOCS, "/nowhere", method="HEAD")).status == 404


async def test_without_a_page_for_it_404_is_plain(
    embedded: CaddyRouter, visit: Any, tmp_path: Path
) -> None:
    files = write_site(tmp_path / "bare", {"index.html": "home"})
    await embedded.switch(MAIN, {"docs": files})
    await embedded.publish(TABLE)
    page = await visit(embedded, DOCS, "/nowhere")
    assert page.status == 404
    assert "Not found" in page.text
    assert str(tmp_path) not in page.text


@pytest.mark.parametrize("path", ["/any/where", "/user/jo.doe", "/v1.2", "/empty", "/app.js/x"])
async def test_an_application_answers_for_its_paths(
    router: CaddyRouter, visit: Any, path: str
) -> None:
    page = await visit(router, APP, path)
    assert (page.status, page.text) == (200, PAGES["index.html"])
    again = await visit(router, APP, path, headers={"If-None-Match": page.headers["etag"]})
    assert again.status == 304


@pytest.mark.parametrize("path", ["/assets/index-1a2b.js", "/x.CSS", "/logo.svg", "/a/b.woff2"])
async def test_an_application_does_not_answer_for_files(
    router: CaddyRouter, visit: Any, path: str
) -> None:
    assert (await visit(router, APP, path)).status == 404


async def test_an_application_serves_its_files(router: CaddyRouter, visit: Any) -> None:
    assert (await visit(router, APP, "/app.js")).text == PAGES["app.js"]
    assert (await visit(router, APP, "/guide")).headers["location"] == "/guide/"
    assert (await visit(router, APP, "/guide/")).text == PAGES["guide/index.html"]


async def test_a_site_without_files_yet_shows_nothing_of_the_machine(
    embedded: CaddyRouter, visit: Any
) -> None:
    """Caddy takes an empty root for its own working directory."""
    await embedded.publish(TABLE)
    for path in ("/", "/config.json", "/admin.sock"):
        page = await visit(embedded, DOCS, path)
        assert page.status == 503
        assert "Not running" in page.text


async def test_a_site_that_leads_out_is_refused(
    router: CaddyRouter, visit: Any, tmp_path: Path
) -> None:
    evil = tmp_path / "evil"
    files = write_site(evil, {"index.html": "evil"})
    await asyncio.to_thread((evil / "passwd").symlink_to, "/etc/passwd")
    with pytest.raises(Rejected, match=r"contract/main: .*link passwd leads to /etc/passwd"):
        await router.switch(MAIN, {"docs": files})
    assert (await visit(router, DOCS)).text == PAGES["index.html"]


async def test_files_of_one_site_may_be_links_to_another_in_the_store(
    embedded: CaddyRouter, visit: Any, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    font, docs = store / f"{'a' * 32}-font", store / f"{'b' * 32}-docs"
    write_site(font, {"font.woff2": "the font"})
    write_site(docs, {"index.html": "the docs"})
    (docs / "font.woff2").symlink_to(font / "font.woff2")
    await embedded.publish(TABLE)
    await embedded.switch(MAIN, {"docs": Files(root=str(docs))})
    assert (await visit(embedded, DOCS, "/font.woff2")).text == "the font"
