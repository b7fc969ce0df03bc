"""Everything Kennel raises on purpose.

* KennelError
  * ConfigError        the operator must change kennel.toml; the daemon does not start
  * PluginError        a plugin breaks its contract with the core; the daemon does not start
  * ManifestError      a commit declares something Kennel cannot do; its author must change it
  * BuildError         a commit cannot be fetched, evaluated or built
  * NotFound           somebody asked for a project, ref or build that is not there
  * Conflict           somebody asked for what another project, ref or setting already holds
  * ProviderError      a provider could not do what it was asked
    * Unavailable      it may work on the next pass
    * Rejected         it will not work until somebody changes something

Every message is written for the person who has to act: it names the thing, says what is wrong
and what would be right. None ever holds a secret.
"""


class KennelError(Exception):
    """Base of every error raised by Kennel."""


class ConfigError(KennelError):
    """The configuration cannot be used."""


class PluginError(KennelError):
    """A plugin breaks its contract with the core."""


class ManifestError(KennelError):
    """A commit declares something Kennel cannot do."""


class BuildError(KennelError):
    """A commit cannot be fetched, evaluated or built."""


class NotFound(KennelError):
    """There is no such project, ref or build."""


class Conflict(KennelError):
    """Somebody else already holds this."""


class ProviderError(KennelError):
    """A provider could not do what it was asked."""


class Unavailable(ProviderError):
    """The service behind a provider is out of reach. Try again."""


class Rejected(ProviderError):
    """The service behind a provider said no. Trying again changes nothing."""
