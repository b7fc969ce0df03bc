# A pull request has a copy of its own, which goes with it.
{ helpers }:
{
  nodes.machine = { };

  testScript = helpers + ''
    boot(machine)
    commit(machine, "production")
    push(machine)
    until(machine, MAIN, "production")

    with subtest("a pull request has its own"):
        machine.succeed("git -C /srv/shop switch --quiet --create proposal")
        commit(machine, "proposed")
        push(machine, "proposal:refs/pull/1/head")
        until(machine, PREVIEW, "proposed")
        until(machine, MAIN, "production")
        until(machine, f"{PREVIEW}/KENNEL_ENVIRONMENT", "preview")

    with subtest("it goes when it is closed"):
        push(machine, ":refs/pull/1/head")
        machine.wait_until_fails(f"{CURL} {PREVIEW} | grep proposed")
        machine.wait_until_fails("systemctl list-units --plain --no-legend 'kennel-shop--pr-1--*' | grep kennel")
        until(machine, MAIN, "production")
  '';
}
