"""How a library that blocks is called without stopping everybody else."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that blocks (boto3, hvac, a file system) and return what it returns."""
    return await asyncio.to_thread(function, *args, **kwargs)
