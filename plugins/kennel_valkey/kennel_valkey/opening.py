"""Makes the provisioner that the settings ask for, or says what is wrong with them."""

from pathlib import Path

from kennel.domain import Secret
from kennel.plugin import Provisioner
from kennel.plugin.settings import Host, read_secret
from kennel_valkey.address import Account, Address, number_of
from kennel_valkey.config import ValkeyConfig, size, wrong
from kennel_valkey.databases import DatabaseProvisioner
from kennel_valkey.instances import InstanceProvisioner
from kennel_valkey.key import Key
from kennel_valkey.ledger import Ledger
from kennel_valkey.server import Server

SOCKET = Path("/run/valkey/valkey.sock")
"""Where a server listens whose distribution thought of it, and nobody of anything else."""


def provisioner(config: ValkeyConfig, host: Host) -> Provisioner:
    """Return the provisioner, not opened. Raises ConfigError for settings that do not fit."""
    folder = config.state_dir or host.state_dir / "valkey"
    key = Key(config.key_file or folder / "key")
    if config.isolation == "instance":
        return InstanceProvisioner(instances(config), Ledger(folder / "instances.json"), key)
    url = kennels_url(config)
    return DatabaseProvisioner(
        Server(url),
        tenants_address(config, url),
        Ledger(folder / "databases.json"),
        key,
        reserved=config.reserved,
        scripts=config.scripts,
    )


def instances(config: ValkeyConfig) -> ValkeyConfig:
    """Return the settings, if they are such as instances have."""
    for key in ("url", "socket", "password", "address", "reserved"):
        if getattr(config, key):
            raise wrong(key, 'it is for isolation = "database": leave it out with "instance"')
    if size(config.instance_memory) > size(config.instance_memory_max):
        raise wrong("instance_memory", "it is more than instance_memory_max")
    return config


def kennels_url(config: ValkeyConfig) -> Secret:
    """Return the URL that Kennel itself connects with."""
    if config.url is None:
        account = Account(user=config.user, password=_password(config))
        if not account.password.value:
            return Secret(f"unix://{config.socket or SOCKET}")
        return Address("unix", str(config.socket or SOCKET)).url(account)
    if config.socket or config.password:
        raise wrong("url", "it says all: leave socket and password out, or url")
    url = read_secret(config.url, where="[plugins.valkey] url", example=f"unix://{SOCKET}")
    _parse(url.value, "url")
    if number_of(url.value) not in {"", "0"}:
        raise wrong("url", "it names a database, and Kennel looks after all: leave the number out")
    return url


def _password(config: ValkeyConfig) -> Secret:
    if config.password is None:
        return Secret("")
    return read_secret(config.password, where="[plugins.valkey] password")


def tenants_address(config: ValkeyConfig, url: Secret) -> Address:
    if config.address is None:
        return _parse(url.value, "url")
    if "@" in config.address:
        raise wrong("address", "it is for all tenants: leave user and password out")
    return _parse(config.address, "address")


def _parse(url: str, key: str) -> Address:
    try:
        return Address.parse(url)
    except ValueError as error:
        raise wrong(key, str(error)) from None
