"""Make the world match the store."""

from kennel.reconcile.providers import Providers, Rules
from kennel.reconcile.reconciler import Reconciler

__all__ = ["Providers", "Reconciler", "Rules"]
