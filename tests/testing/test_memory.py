"""The stand-ins pass the contracts that real providers pass."""

from collections.abc import Mapping

import pytest

from kennel.domain import Env, names
from kennel.errors import Rejected, Unavailable
from kennel.plugin import DnsProvider, Provisioner, SecretSource
from kennel.testing.dns import DnsProviderContract, MakeDnsProvider, MemoryDnsProvider
from kennel.testing.provisioner import (
    ADA,
    Box,
    MakeProvisioner,
    MemoryProvisioner,
    ProvisionerContract,
)
from kennel.testing.secret_source import (
    MakeSecretSource,
    MemorySecretSource,
    SecretSourceContract,
)


class TestMemoryProvisioner(ProvisionerContract):
    server: dict[str, Box]

    @pytest.fixture
    def make_provisioner(self) -> MakeProvisioner:
        self.server = {}
        return lambda: MemoryProvisioner(self.server)

    def inventory(self) -> set[str]:
        return set(self.server)

    def make_foreign(self) -> None:
        self.server["kennel_lovelace"] = Box(None)

    def unreachable(self) -> Provisioner:
        away = MemoryProvisioner()
        away.problem = Unavailable("memory: out of reach")
        return away

    def put(self, env: Env, text: str) -> None:
        self._box(env).text = text

    def get(self, env: Env) -> str | None:
        return self._box(env).text

    def _box(self, env: Env) -> Box:
        return self.server[env["MEMORY_URL"].value.removeprefix("memory:///")]

    async def test_a_foreign_box_is_rejected(self) -> None:
        server = {names.database(ADA): Box(None)}
        with pytest.raises(Rejected, match="not Kennel's"):
            await MemoryProvisioner(server).ensure(ADA, {})


class TestMemorySecretSource(SecretSourceContract):
    @pytest.fixture
    def make_source(self) -> MakeSecretSource:
        return MemorySecretSource

    def unreachable(self) -> SecretSource:
        sealed = MemorySecretSource()
        sealed.problem = Unavailable("memory: sealed")
        return sealed


class TestMemoryDnsProvider(DnsProviderContract):
    server: dict[str, tuple[str, bool]]

    @pytest.fixture
    def make_dns_provider(self) -> MakeDnsProvider:
        self.server = {}

        def make(foreign: Mapping[str, str]) -> DnsProvider:
            self.server.update({host: (target, False) for host, target in foreign.items()})
            return MemoryDnsProvider([self.zone], self.server)

        return make

    def inventory(self) -> dict[str, str]:
        return {host: target for host, (target, _) in self.server.items()}

    def unreachable(self) -> DnsProvider:
        away = MemoryDnsProvider()
        away.problem = Unavailable("memory: out of reach")
        return away
