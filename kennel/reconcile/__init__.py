"""Make the world match the store."""

from kennel.reconcile.reconciler import Reconciler
from kennel.reconcile.settle import Providers, Rules

__all__ = ["Providers", "Reconciler", "Rules"]
