# Kennel is killed, Caddy is reloaded, a service crashes, the machine restarts: what was live is live.
{ helpers }:
{
  nodes.machine = { };

  testScript = helpers + ''
    boot(machine)
    commit(machine, "here")
    push(machine)
    until(machine, MAIN, "here")

    with subtest("Kennel is killed"):
        [before] = units(machine, "main")
        machine.succeed("systemctl kill --signal=KILL kennel.service")
        machine.succeed(f"{CURL} --fail {MAIN} | grep here")
        machine.wait_for_unit("kennel.service")
        assert [before] == units(machine, "main")

    with subtest("Caddy forgets Kennel's routes"):
        machine.succeed("systemctl reload caddy.service")
        until(machine, MAIN, "here")

    with subtest("a service crashes"):
        machine.succeed(f"systemctl kill --signal=KILL {before}")
        until(machine, MAIN, "here")

    with subtest("a unit that failed for good makes no switch fail"):
        machine.succeed(f"systemctl stop {before}")
        assert machine.succeed("systemctl list-units --failed --plain --no-legend 'kennel-*'") == ""
        until(machine, MAIN, "here")

    with subtest("the machine restarts"):
        machine.shutdown()
        machine.start()
        boot(machine)
        until(machine, MAIN, "here")
  '';
}
