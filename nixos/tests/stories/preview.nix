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
        machine.wait_until_succeeds(f"{CURL} --output /dev/null --write-out '%{{http_code}}' {PREVIEW} | grep 404")
        assert units(machine, "pr-1") == []
        until(machine, MAIN, "production")
  '';
}
