"""What the settings say, and how tenants are told where their database is."""

from urllib.parse import parse_qs, urlsplit

import pytest
from kennel_valkey import ValkeyConfig, kennel_provisioners
from kennel_valkey.address import Account, Address
from kennel_valkey.config import size
from kennel_valkey.key import Key
from kennel_valkey.opening import kennels_url, tenants_address
from valkey.connection import parse_url

from kennel.domain import Ref, Secret, Tenant
from kennel.errors import ConfigError, Rejected
from kennel.plugin import PluginSettings
from kennel.plugin.manager import Plugins
from kennel.plugin.settings import Host

ACCOUNT = Account(user="kennel_shop_feature-x", password=Secret("p/w@:?#"), number=7)
ADA = Tenant("lovelace", Ref.branch("main"))


class TestUrl:
    @pytest.mark.parametrize(
        "address",
        [
            Address("redis", "127.0.0.1:6379"),
            Address("rediss", "valkey.example:7000"),
            Address("redis", "[::1]:6379"),
        ],
        ids=str,
    )
    def test_over_tcp_every_client_reads_the_same(self, address: Address) -> None:
        read = parse_url(address.url(ACCOUNT).value)
        assert (read["username"], read["password"], read["db"]) == (
            "kennel_shop_feature-x",
            "p/w@:?#",
            7,
        )
        assert f"{read['host']}:{read['port']}" == address.place.replace("[", "").replace("]", "")
        assert address.url(ACCOUNT, "redis+unix") == address.url(ACCOUNT)

    def test_of_a_socket(self) -> None:
        url = Address("unix", "/run/valkey/my valkey.sock").url(ACCOUNT).value
        read = parse_url(url)
        assert read["path"] == "/run/valkey/my valkey.sock"
        assert (read["username"], read["password"], read["db"]) == (
            "kennel_shop_feature-x",
            "p/w@:?#",
            7,
        )

    def test_of_a_socket_for_redis_rs(self) -> None:
        url = urlsplit(Address("unix", "/run/valkey.sock").url(ACCOUNT, "redis+unix").value)
        assert (url.scheme, url.netloc, url.path) == ("redis+unix", "", "/run/valkey.sock")
        assert parse_qs(url.query) == {
            "db": ["7"],
            "user": ["kennel_shop_feature-x"],
            "pass": ["p/w@:?#"],
        }

    def test_it_is_not_shown(self) -> None:
        assert "p/w" not in repr(Address("unix", "/x").url(ACCOUNT)) + repr(ACCOUNT)


class TestSettings:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("unix://kennel:pw@/run/valkey.sock", Address("unix", "/run/valkey.sock")),
            ("unix:///run/valkey.sock", Address("unix", "/run/valkey.sock")),
            ("valkey://kennel:pw@cache", Address("redis", "cache:6379")),
            ("valkeys://kennel:pw@cache:1/0", Address("rediss", "cache:1")),
            ("redis://kennel:pw@[::1]:1", Address("redis", "[::1]:1")),
        ],
    )
    def test_tenants_connect_where_kennel_does(
        self, monkeypatch: pytest.MonkeyPatch, url: str, expected: Address
    ) -> None:
        monkeypatch.setenv("URL", url)
        config = ValkeyConfig(url="env:URL")
        assert kennels_url(config) == Secret(url)
        assert tenants_address(config, kennels_url(config)) == expected
        elsewhere = ValkeyConfig(url="env:URL", address="rediss://outside:1")
        assert tenants_address(elsewhere, Secret(url)) == Address("rediss", "outside:1")

    def test_a_socket_with_user_and_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PASSWORD", "pw")
        config = ValkeyConfig(user="kennel", password="env:PASSWORD")
        assert kennels_url(config).value == "unix://kennel:pw@/run/valkey/valkey.sock?db=0"

    @pytest.mark.parametrize(
        ("table", "problem"),
        [
            ({"url": "redis://secret@x"}, r"\[plugins.valkey\] url"),
            ({"url": "env:URL", "socket": "/x"}, "leave socket and password out"),
            ({"url": "env:DATABASE"}, "leave the number out"),
            ({"url": "env:WRONG"}, "it is written unix:///PATH"),
            ({"url": "env:RELATIVE"}, "begins with a slash"),
            ({"url": "env:URL", "address": "redis://me:secret@x"}, "leave user and password out"),
            ({"url": "env:URL", "address": "x:1"}, "address: it is written"),
            ({"url": "env:URL", "isolation": "none"}, "isolation"),
            ({"url": "env:URL", "reserved": [0]}, "reserved"),
            ({"urls": "x"}, "unknown key 'urls'"),
        ],
        ids=str,
    )
    def test_what_does_not_fit(
        self,
        host: Host,
        monkeypatch: pytest.MonkeyPatch,
        table: dict[str, object],
        problem: str,
    ) -> None:
        monkeypatch.setenv("URL", "unix://kennel:secret@/run/valkey.sock")
        monkeypatch.setenv("DATABASE", "redis://kennel:secret@host/3")
        monkeypatch.setenv("WRONG", "http://kennel:secret@host")
        monkeypatch.setenv("RELATIVE", "unix://secret")
        with pytest.raises(ConfigError, match=problem) as error:
            kennel_provisioners(PluginSettings({"valkey": table}, host))
        assert "secret" not in str(error.value)

    def test_it_is_installed_and_off_without_a_table(self, host: Host) -> None:
        found = {p.name: p for p in Plugins.discover().listing(PluginSettings({}, host))}["valkey"]
        assert (found.package, found.kinds, found.on) == (
            "kennel-valkey",
            ("provisioner",),
            False,
        )
        assert list(kennel_provisioners(PluginSettings({}, host))) == []


class TestKey:
    def test_each_tenant_and_purpose_has_a_password_of_its_own(self, host: Host) -> None:
        key = Key(host.state_dir / "valkey" / "key")
        bob = Tenant("lovelace", Ref.branch("main2"))
        passwords = [
            key.password(tenant, purpose=purpose).value
            for tenant in (ADA, bob)
            for purpose in ("database", "instance", "socket")
        ]
        assert len(set(passwords)) == 6
        assert all(len(password) == 64 for password in passwords)
        again = Key(host.state_dir / "valkey" / "key")
        assert again.password(ADA, purpose="database").value == passwords[0]

    def test_its_file_is_kennels_alone(self, host: Host) -> None:
        file = host.state_dir / "valkey" / "key"
        Key(file).password(ADA, purpose="database")
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700

    def test_one_that_is_too_short(self, host: Host) -> None:
        file = host.state_dir / "key"
        file.write_text("short\n")
        with pytest.raises(Rejected, match="shorter than 32 bytes") as error:
            Key(file).password(ADA, purpose="database")
        assert "short\n" not in str(error.value)


@pytest.mark.parametrize(("text", "number"), [("64M", 64 << 20), ("1G", 1 << 30), ("2K", 2048)])
def test_sizes(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize("text", ["", "64", "0M", "1T", "64 M", "-1M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Rejected, match="is no size"):
        size(text)
