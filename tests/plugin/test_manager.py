"""Finding plugins, asking them, and refusing what does not fit."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from kennel.errors import ConfigError, PluginError, Unavailable
from kennel.plugin import PluginConfig, PluginSettings, Provisioner, hookimpl
from kennel.plugin.manager import Plugins, choose
from kennel.plugin.offer import KINDS
from kennel.plugin.settings import Host
from kennel.testing.dns import MemoryDnsProvider
from kennel.testing.provisioner import MemoryProvisioner
from kennel.testing.secret_source import MemorySecretSource

Install = Callable[..., None]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(state_dir=tmp_path / "state", run_dir=tmp_path / "run")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put packages on the path, as an installer would, and no others with plugins."""
    site = tmp_path / "site"
    others = [p for p in sys.path if not any(Path(p or ".").glob("kennel*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(site), *others])

    def put(package: str, plugin: str, code: str, *, module: str | None = None) -> None:
        module = module or package.replace("-", "_")
        info = site / f"{package.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[kennel]\n{plugin} = {module}\n")
        (site / f"{module}.py").write_text(dedent(code))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


def plugin(**hooks: Callable[..., object]) -> ModuleType:
    """Return a module that implements these hooks."""
    module = ModuleType("kennel_sample")
    for name, hook in hooks.items():
        setattr(module, name, hookimpl(hook))
    return module


def offers(*providers: object) -> Callable[..., object]:
    def hook(settings: PluginSettings) -> Iterable[object]:
        return providers

    return hook


def ask(host: Host, **plugins: object) -> Mapping[str, Provisioner]:
    """Turn these plugins on and return their provisioners."""
    on = PluginSettings({name: {} for name in plugins}, host)
    return Plugins({name: (p, None) for name, p in plugins.items()}).ports(on).provisioners


class Other(MemoryProvisioner):
    name = "other"
    variables = frozenset({"OTHER_URL"})


def test_every_kind_of_provider_is_found(host: Host) -> None:
    memory = plugin(
        kennel_provisioners=offers(MemoryProvisioner(), Other()),
        kennel_secret_sources=offers(MemorySecretSource()),
        kennel_dns_providers=offers(MemoryDnsProvider()),
    )
    ports = Plugins({"memory": (memory, None)}).ports(PluginSettings({"memory": {}}, host))
    assert list(ports.provisioners) == ["memory", "other"]
    assert isinstance(ports.secret_sources["memory"], MemorySecretSource)
    assert isinstance(ports.dns_providers["memory"], MemoryDnsProvider)
    assert not ports.routers
    assert not ports.supervisors
    assert not ports.forges
    assert not ports.caches


def test_hooks_may_yield(host: Host) -> None:
    def hook(settings: PluginSettings) -> Iterable[Provisioner]:
        yield MemoryProvisioner()

    assert list(ask(host, memory=plugin(kennel_provisioners=hook))) == ["memory"]


def test_a_hook_that_answers_nothing_offers_nothing(host: Host) -> None:
    assert ask(host, quiet=plugin(kennel_provisioners=lambda settings: None)) == {}


def test_a_hook_may_leave_its_argument_out(host: Host) -> None:
    assert list(ask(host, m=plugin(kennel_provisioners=lambda: [MemoryProvisioner()]))) == [
        "memory"
    ]


def test_a_plugin_that_is_off_is_not_asked(host: Host) -> None:
    def explode(settings: PluginSettings) -> Iterable[Provisioner]:
        raise AssertionError

    plugins = Plugins({"off": (plugin(kennel_provisioners=explode), None)})
    assert plugins.ports(PluginSettings({}, host)).provisioners == {}


def test_listing_says_what_is_on(host: Host) -> None:
    memory = plugin(
        kennel_provisioners=offers(MemoryProvisioner()),
        kennel_secret_sources=offers(MemorySecretSource()),
    )
    plugins = Plugins({"b": (memory, None), "a": (plugin(), None)})
    off, on = plugins.listing(PluginSettings({"b": {}}, host))
    assert (on.name, on.kinds, on.on, on.why) == ("b", ("provisioner", "secret source"), True, "")
    assert (off.name, off.kinds, off.on) == ("a", (), False)
    assert off.why == "kennel.toml has no [plugins.a]"


GOOD = """
    from kennel.plugin import PluginConfig, hookimpl
    from kennel.testing.provisioner import MemoryProvisioner

    @hookimpl
    def kennel_provisioners(settings):
        if settings.read("redis", PluginConfig):
            yield MemoryProvisioner()
"""


def test_installed_packages_are_discovered(install: Install, host: Host) -> None:
    install("kennel-redis", "redis", GOOD)
    plugins = Plugins.discover()
    (redis,) = plugins.listing(PluginSettings({}, host))
    assert (redis.name, redis.package, redis.version) == ("redis", "kennel-redis", "1.2")
    assert redis.kinds == ("provisioner",)
    assert list(plugins.ports(PluginSettings({"redis": {}}, host)).provisioners) == ["memory"]


def test_two_packages_with_one_name(install: Install) -> None:
    install("kennel-redis", "redis", GOOD)
    install("acme-redis", "redis", GOOD)
    with pytest.raises(PluginError) as error:
        Plugins.discover()
    assert str(error.value) == (
        "two packages have a plugin called 'redis': acme-redis and kennel-redis."
        " Uninstall one of them"
    )


def test_two_packages_with_one_name_and_one_module(install: Install) -> None:
    install("kennel-redis", "redis", GOOD, module="redis_plugin")
    install("acme-redis", "redis", GOOD, module="redis_plugin")
    with pytest.raises(PluginError, match="acme-redis and kennel-redis"):
        Plugins.discover()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise RuntimeError('half installed')", "RuntimeError: half installed"),
        ("def broken(:", "SyntaxError: "),
    ],
)
def test_a_plugin_that_cannot_be_imported(install: Install, code: str, why: str) -> None:
    install("kennel-redis", "redis", code)
    with pytest.raises(PluginError) as error:
        Plugins.discover()
    assert str(error.value).startswith(f"plugin 'redis' (kennel-redis) cannot be imported: {why}")
    assert str(error.value).endswith("Upgrade or uninstall it")
    assert "Traceback" not in str(error.value)


def test_a_table_without_a_plugin(host: Host) -> None:
    plugins = Plugins({"memory": (plugin(), None)})
    with pytest.raises(ConfigError) as error:
        plugins.ports(PluginSettings({"memory": {}, "postgres": {"url": "x"}}, host))
    assert str(error.value) == (
        "kennel.toml: [plugins.postgres]: no plugin of that name is installed; installed are:"
        " memory. Install the package that has it (such as kennel-postgres) or remove the table"
    )


def test_a_supervisor_without_a_plugin_is_not_called_a_table(host: Host) -> None:
    plugins = Plugins({"memory": (plugin(), None)})
    with pytest.raises(ConfigError) as error:
        plugins.ports(PluginSettings({"memory": {}, "docker": {}}, host))
    assert str(error.value) == (
        'kennel.toml: "docker": no plugin of that name is installed; installed are: memory.'
        " Install the package that has it (such as kennel-docker) or remove the name"
    )


def test_an_unknown_key_in_a_plugins_table(host: Host) -> None:
    class RedisConfig(PluginConfig, frozen=True):
        url: str = ""
        databases: int = 16

    def hook(settings: PluginSettings) -> Iterable[Provisioner]:
        settings.read("redis", RedisConfig)
        return ()

    plugins = Plugins({"redis": (plugin(kennel_provisioners=hook), None)})
    with pytest.raises(ConfigError) as error:
        plugins.ports(PluginSettings({"redis": {"ulr": "x"}}, host))
    assert str(error.value) == (
        "kennel.toml: [plugins.redis]: unknown key 'ulr'; its keys are: url, databases"
    )


def test_two_providers_of_a_kind_with_one_name(host: Host) -> None:
    one, other = (plugin(kennel_provisioners=offers(MemoryProvisioner())) for _ in range(2))
    with pytest.raises(PluginError) as error:
        ask(host, one=one, other=other)
    assert str(error.value) == (
        "plugins 'one' and 'other' both offer a provisioner called 'memory': turn one of them off"
    )


def test_one_plugin_with_twins(host: Host) -> None:
    twins = plugin(kennel_provisioners=offers(MemoryProvisioner(), MemoryProvisioner()))
    with pytest.raises(PluginError) as error:
        ask(host, one=twins)
    assert str(error.value) == "plugin 'one' offers a provisioner called 'memory' twice"


def test_providers_of_two_kinds_may_share_a_name(host: Host) -> None:
    both = plugin(
        kennel_provisioners=offers(MemoryProvisioner()),
        kennel_secret_sources=offers(MemorySecretSource()),
    )
    assert list(ask(host, both=both)) == ["memory"]


def test_two_provisioners_that_set_one_variable(host: Host) -> None:
    class Rival(MemoryProvisioner):
        name = "rival"
        variables = frozenset({"MEMORY_URL", "RIVAL_URL"})

    with pytest.raises(PluginError) as error:
        ask(
            host,
            one=plugin(kennel_provisioners=offers(MemoryProvisioner())),
            other=plugin(kennel_provisioners=offers(Rival())),
        )
    assert str(error.value) == (
        "provisioners 'memory' (plugin 'one') and 'rival' (plugin 'other') both set MEMORY_URL:"
        " turn one of them off"
    )


@pytest.mark.parametrize(
    ("hook", "hint"),
    [
        ("kennel_provisoners", "did you mean kennel_provisioners"),
        ("kennel_dns_provider", "did you mean kennel_dns_providers"),
        ("on_boot", f"there are: {', '.join(KINDS)}"),
    ],
)
def test_a_misspelt_hook(hook: str, hint: str) -> None:
    with pytest.raises(PluginError) as error:
        Plugins({"redis": (plugin(**{hook: offers()}), None)})
    assert str(error.value) == f"plugin 'redis': there is no hook {hook!r}; {hint}"


def test_a_hook_of_a_later_version_may_be_optional(host: Host) -> None:
    later = ModuleType("later")
    hook = hookimpl(optionalhook=True)(offers("of another kind"))
    later.kennel_mail_servers = hook  # type: ignore[attr-defined]
    assert ask(host, later=later) == {}


def test_a_hook_with_an_argument_that_there_is_not() -> None:
    def hook(config: object) -> Iterable[object]:
        return ()

    with pytest.raises(PluginError, match=r"plugin 'redis': .*kennel_provisioners.*config"):
        Plugins({"redis": (plugin(kennel_provisioners=hook), None)})


def test_a_hook_without_its_mark() -> None:
    module = ModuleType("kennel_redis")
    module.kennel_provisioners = offers()  # type: ignore[attr-defined]
    with pytest.raises(PluginError) as error:
        Plugins({"redis": (module, None)})
    assert str(error.value) == (
        "plugin 'redis': kennel_provisioners lacks its @hookimpl: nobody would call it"
    )


def test_one_module_under_two_names() -> None:
    module = plugin(kennel_provisioners=offers())
    with pytest.raises(PluginError, match="plugin 'other': "):
        Plugins({"one": (module, None), "other": (module, None)})


ANSWERS = "the names that `ensure` answers with"


def raises(error: Exception) -> Callable[..., object]:
    def hook(settings: PluginSettings) -> Iterable[object]:
        raise error

    return hook


async def coroutine(settings: PluginSettings) -> Iterable[object]:
    return ()


def yields_then_raises(settings: PluginSettings) -> Iterable[object]:
    yield MemoryProvisioner()
    raise KeyError("url")


class Nameless(MemoryProvisioner):
    name = ""


class Shouting(MemoryProvisioner):
    name = "Redis Server"


class Silent(MemoryProvisioner):
    variables = frozenset()


class Spaced(MemoryProvisioner):
    variables = frozenset({"MEMORY URL"})


class Ports(MemoryProvisioner):
    variables = frozenset({"PORT"})


class Impostor(MemoryProvisioner):
    variables = frozenset({"KENNEL_URL"})


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        (raises(ZeroDivisionError()), ": ZeroDivisionError"),
        (raises(KeyError("url")), ": KeyError: 'url'"),
        (raises(Unavailable("redis: out of reach")), ": Unavailable: redis: out of reach"),
        (yields_then_raises, ": KeyError: 'url'"),
        (coroutine, ": TypeError: a hook is a plain function, not an async one"),
        (lambda: 3, ": TypeError: a hook returns or yields providers, not int: put it into a list"),
        (
            lambda settings: Other(),
            ": TypeError: a hook returns or yields providers, not Other: put it into a list",
        ),
        (offers("redis"), " offers str, which is no kennel.plugin.ports.Provisioner"),
        (
            offers(MemorySecretSource()),
            " offers MemorySecretSource, which is no kennel.plugin.ports.Provisioner",
        ),
        (
            offers(MemoryProvisioner),
            " offers the class MemoryProvisioner, not one made of it",
        ),
        (
            offers(Nameless()),
            " offers a provisioner, Nameless, whose `name` is not of a-z, 0-9 and -",
        ),
        (
            offers(Shouting()),
            " offers a provisioner, Shouting, whose `name` is not of a-z, 0-9 and -",
        ),
        (
            offers(Silent()),
            f" offers a provisioner, Silent, without `variables`: {ANSWERS}",
        ),
        (
            offers(Spaced()),
            " offers a provisioner, Spaced, that sets 'MEMORY URL': no name of a variable",
        ),
        (
            offers(Ports()),
            " offers a provisioner, Ports, that sets PORT: Kennel itself sets that",
        ),
        (
            offers(Impostor()),
            " offers a provisioner, Impostor, that sets KENNEL_URL: Kennel itself sets that",
        ),
    ],
)
def test_a_hook_that_answers_badly(host: Host, hook: Callable[..., object], why: str) -> None:
    with pytest.raises(PluginError) as error:
        ask(host, redis=plugin(kennel_provisioners=hook))
    assert str(error.value) == f"plugin 'redis': kennel_provisioners{why}"


def test_what_a_plugin_says_of_its_settings_is_passed_on(host: Host) -> None:
    said = ConfigError("[plugins.redis] url: is no URL")
    with pytest.raises(ConfigError) as error:
        ask(host, redis=plugin(kennel_provisioners=raises(said)))
    assert error.value is said


def test_the_right_one_is_chosen() -> None:
    memory, other = MemoryProvisioner(), Other()
    assert choose("supervisor", "other", {"memory": memory, "other": other}) is other


@pytest.mark.parametrize(
    ("offered", "there"),
    [({}, "none"), ({"b": MemoryProvisioner(), "a": Other()}, "a, b")],
)
def test_a_choice_that_there_is_not(offered: Mapping[str, Provisioner], there: str) -> None:
    with pytest.raises(ConfigError) as error:
        choose("supervisor", "systemd", offered)
    assert str(error.value) == (
        f'kennel.toml: supervisor = "systemd": no such supervisor; there is: {there}'
    )
