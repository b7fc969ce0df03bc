"""What the stories have in common. `machine`: a machine of NixOS' test driver."""

CURL = "curl --silent --show-error --insecure --max-time 10"
MAIN = "https://shop-main.preview.test"
PREVIEW = "https://shop-pr-1.preview.test"


def boot(machine):
    machine.wait_for_unit("forge.service")
    machine.wait_for_unit("kennel.service")
    machine.wait_for_unit("caddy.service")


def commit(machine, greeting, resources=""):
    """Commit a version of the project that answers with a greeting and asks for resources."""
    listed = " ".join(f'\\"{name}\\"' for name in resources.split())
    machine.succeed(
        f'sed -i \'s/or "[^"]*")/or "{greeting}")/\' /srv/shop/api/bin/api',
        f"sed -i 's/resources = .*/resources = [ {listed} ];/' /srv/shop/flake.nix",
        "git -C /srv/shop add --all",
        f"git -C /srv/shop commit --quiet --message '{greeting}'",
    )


def push(machine, what="main"):
    return machine.succeed(f"git -C /srv/shop push origin {what} 2>&1")


def until(machine, url, text):
    """Wait until an address answers with a text."""
    machine.wait_until_succeeds(f"{CURL} {url} | grep --fixed-strings '{text}'", timeout=120)


def units(machine, ref):
    """Return the units that run for a ref."""
    command = f"systemctl list-units --plain --no-legend 'kennel-shop--{ref}--*' | cut -d' ' -f1"
    return machine.succeed(command).split()
