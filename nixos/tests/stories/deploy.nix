# A push becomes a URL, the next one takes its place, and what is wrong changes nothing.
{ helpers }:
{
  nodes.machine = { };

  testScript = helpers + ''
    boot(machine)
    machine.succeed(f"{CURL} --fail https://kennel.test/health")

    with subtest("a push is deployed"):
        commit(machine, "one")
        assert "202" in push(machine)
        until(machine, MAIN, "one")
        [unit] = units(machine, "main")
        shown = machine.succeed(f"systemctl show {unit} -p User,Slice,NoNewPrivileges,DynamicUser")
        assert "Slice=kennel.slice" in shown
        assert "DynamicUser=yes" in shown

    with subtest("the next one takes its place"):
        commit(machine, "two")
        push(machine)
        until(machine, MAIN, "two")
        machine.wait_until_succeeds("test $(systemctl list-units --plain --no-legend 'kennel-shop--main--*' | wc -l) = 1")

    with subtest("a version that is not built changes nothing"):
        machine.succeed("echo broken >> /srv/shop/flake.nix")
        commit(machine, "three")
        push(machine)
        machine.wait_until_succeeds("kennel builds shop main | grep failed")
        until(machine, MAIN, "two")

    with subtest("Kennel is confined"):
        assert float(machine.succeed("systemd-analyze security kennel.service | tail -n1 | grep -o '[0-9.]\\+'").split()[0]) < 5
        machine.fail("su -s /bin/sh kennel -c 'systemctl restart sshd.service'")
        machine.fail("su -s /bin/sh kennel -c 'systemd-run --unit=kennel-mine true'")

    with subtest("a switch of the system leaves services alone"):
        [before] = units(machine, "main")
        machine.succeed("systemctl restart kennel.service")
        machine.wait_for_unit("kennel.service")
        assert [before] == units(machine, "main")
        until(machine, MAIN, "two")
  '';
}
