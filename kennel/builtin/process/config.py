"""What `[plugins.process]` in kennel.toml may say."""

from typing import Annotated

from msgspec import Meta

from kennel.plugin import PluginConfig

Seconds = Annotated[float, Meta(gt=0)]
Positive = Annotated[int, Meta(ge=1)]


class ProcessConfig(PluginConfig, frozen=True):
    """How services run as processes of Kennel's own.

    A service that fails is started again after `restart_delay` seconds, twice that the next time,
    and so on up to `restart_max_delay`, until it was started `start_limit` times within
    `start_limit_interval` seconds; then it counts as failed. It has `stop_timeout` seconds to end
    when it is asked to. What runs at certain times has `run_timeout` seconds for each run.
    `log_max_bytes`: of what a service wrote, the last so many are kept, and for `log_days` after
    it wrote the last of them.
    """

    restart_delay: Seconds = 1.0
    restart_max_delay: Seconds = 30.0
    start_limit: Positive = 5
    start_limit_interval: Seconds = 60.0
    stop_timeout: Seconds = 10.0
    run_timeout: Seconds = 86400.0
    log_max_bytes: Annotated[int, Meta(ge=4096)] = 8 * 1024 * 1024
    log_days: Positive = 7
