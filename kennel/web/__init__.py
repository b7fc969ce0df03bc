"""HTTP: webhooks and health for the world, everything else on a socket for the command line."""

from kennel.web.control import create_control_app
from kennel.web.inbox import GroupCommit
from kennel.web.listener import Listener, listen_tcp, listen_unix
from kennel.web.ports import Control, Inbox, Registry
from kennel.web.public import create_public_app
from kennel.web.server import Serving, serve

__all__ = [
    "Control",
    "GroupCommit",
    "Inbox",
    "Listener",
    "Registry",
    "Serving",
    "create_control_app",
    "create_public_app",
    "listen_tcp",
    "listen_unix",
    "serve",
]
