"""Where the requests go of tenants that sleep: held until the service answers them itself."""

from kennel.waker.residents import NotWoken, Resident, Residents
from kennel.waker.waker import Waker

__all__ = ["NotWoken", "Resident", "Residents", "Waker"]
