"""What a new host, a redeploy and a look cost with Caddy, beside one call for each route.

The peer is how an earlier implementation did it: every route removed and added again by a call
of its own.
"""

import asyncio
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import websockets
from websockets.asyncio.server import ServerConnection

from benchmarks.scale import Scale
from kennel.builtin.caddy import CaddyRouter, Config
from kennel.domain import Key, Ref, Route, Tenant, Upstream
from kennel.plugin.settings import Host
from kennel.testing.serving import serving

HTTP, HTTPS = 18980, 18943
DOMAIN = "bench.localhost"


def tenant(number: int) -> Tenant:
    return Tenant("bench", Ref.branch(f"branch-{number}"))


def route(number: int) -> Route:
    return Route(key=Key(tenant(number), "api"), hosts=(f"h{number}.{DOMAIN}",))


async def milliseconds(action: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await action()
    return (time.perf_counter() - began) * 1000


async def one_new_host(router: CaddyRouter, size: int) -> float:
    """Return the median of adding a host to a table of this size."""
    table = [route(number) for number in range(size)]
    times = []
    for more in range(5):
        await router.publish(table)
        added = [*table, route(size + more)]
        times.append(await milliseconds(lambda added=added: router.publish(added)))  # type: ignore[misc]
    return statistics.median(times)


async def looking(router: CaddyRouter, size: int) -> dict[str, float]:
    """Return what `observe` and `publish` cost where nothing changed."""
    table = [route(number) for number in range(size)]
    for number in range(size):
        await router.switch(tenant(number), {"api": Upstream(port=1)})
    await router.publish(table)
    await router.observe()
    observed = [await milliseconds(router.observe) for _ in range(10)]
    published = [await milliseconds(lambda: router.publish(table)) for _ in range(10)]
    return {"observe": statistics.median(observed), "publish": statistics.median(published)}


async def one_by_one(socket: Path, size: int) -> float:
    """Return what removing and adding every route by a call of its own costs, after warming up."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket), retries=3)
    servers = {
        "old": {"listen": [f"127.0.0.1:{HTTP + 1}"], "routes": [_plain(n) for n in range(size)]}
    }
    path = "/config/apps/http/servers"
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://127.0.0.1",
        timeout=60,
        headers={"Connection": "close"},
    ) as client:
        await client.put(f"{path}/old", json=servers["old"])

        async def again() -> None:
            for number in range(size):
                await client.delete(f"/id/old-{number}")
                await client.post(f"{path}/old/routes", json=_plain(number))

        taken = await milliseconds(again)
        await client.delete(f"{path}/old")
    return taken


def _plain(number: int) -> dict[str, Any]:
    proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": f"localhost:{20000 + number}"}]}
    match = [{"host": [f"h{number}.{DOMAIN}"]}]
    return {"@id": f"old-{number}", "match": match, "handle": [proxy]}


async def redeploys(router: CaddyRouter, switches: int) -> dict[str, float]:
    """Return how so many switches go while there are requests and WebSockets."""
    answers: dict[str, int] = {"requests": 0, "failed": 0, "cut": 0}
    over = asyncio.Event()
    await router.publish([route(0), Route(key=Key(tenant(1), "ws"), hosts=(f"ws.{DOMAIN}",))])
    async with serving("blue") as blue, serving("green") as green, _echo() as sockets:
        await router.switch(tenant(0), {"api": blue})
        await router.switch(tenant(1), {"ws": sockets})
        await asyncio.sleep(0.2)
        visitors = [asyncio.create_task(_visit(answers, over)) for _ in range(4)]
        talkers = [asyncio.create_task(_talk(answers, over)) for _ in range(5)]
        await asyncio.sleep(0.2)
        times = []
        for number in range(switches):
            target = (green, blue)[number % 2]
            times.append(
                await milliseconds(lambda target=target: router.switch(tenant(0), {"api": target}))  # type: ignore[misc]
            )
            await asyncio.sleep(0.05)
        over.set()
        await asyncio.gather(*visitors, *talkers)
    return {"switch": statistics.median(times), **answers}


class _echo:  # noqa: N801 - reads as what it runs
    async def __aenter__(self) -> Upstream:
        async def echo(connection: ServerConnection) -> None:
            async for message in connection:
                await connection.send(message)

        self._server = await websockets.serve(echo, "127.0.0.1", 0)
        return Upstream(port=next(iter(self._server.sockets)).getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


async def _visit(answers: dict[str, int], over: asyncio.Event) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while not over.is_set():
            answers["requests"] += 1
            try:
                answer = await client.get(
                    f"http://127.0.0.1:{HTTP}/", headers={"Host": f"h0.{DOMAIN}"}
                )
                answers["failed"] += answer.status_code != 200
            except httpx.TransportError:
                answers["failed"] += 1


async def _talk(answers: dict[str, int], over: asyncio.Event) -> None:
    uri = f"ws://ws.{DOMAIN}:{HTTP}/"
    async with websockets.connect(uri, host="127.0.0.1", port=HTTP, proxy=None) as connection:
        try:
            while not over.is_set():
                await connection.send("hello")
                await connection.recv()
                await asyncio.sleep(0.02)
        except websockets.ConnectionClosed:
            answers["cut"] += 1


async def measure(scale: Scale, peer_up_to: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="kb"))
    host = Host(state_dir=folder / "state", run_dir=folder / "run", domain=DOMAIN)
    config = Config(http_port=HTTP, https_port=HTTPS, tls="none")
    measured: dict[str, Any] = {"unit": "milliseconds", "sizes": {}}
    try:
        async with CaddyRouter(config, host) as router:
            measured["redeploy"] = await redeploys(router, scale.redeploys)
            for size in scale.deployments:
                found = {"one new host": await one_new_host(router, size)}
                found |= await looking(router, size)
                if size <= peer_up_to:
                    socket = folder / "run" / "caddy" / "admin.sock"
                    found["all again, one by one"] = await one_by_one(socket, size)
                measured["sizes"][str(size)] = found
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return measured


def run(scale: Scale | None = None, peer_up_to: int = 100) -> dict[str, Any]:
    """Measure on a Caddy of its own. The peer is left out above a size: it takes minutes."""
    return asyncio.run(measure(scale or Scale(), peer_up_to))


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
