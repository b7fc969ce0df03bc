# Each ref has a database of Valkey's, behind a password that the machine made.
{ helpers }:
{
  nodes.machine = { pkgs, ... }: {
    services.kennel.resources.valkey.enable = true;
    environment.systemPackages = [ pkgs.valkey ];
  };

  testScript = helpers + ''
    boot(machine)
    machine.wait_for_unit("redis-kennel.service")
    commit(machine, "with a cache", resources="valkey")
    push(machine)
    until(machine, MAIN, "with a cache")

    url = machine.succeed(f"{CURL} --fail {MAIN}/VALKEY_URL").strip()
    assert url.startswith("unix://kennel_")
    user, _, rest = url.removeprefix("unix://").partition(":")
    password = rest.partition("@")[0]
    client = "runuser -u nobody -- valkey-cli -s /run/valkey/valkey.sock --no-auth-warning"
    assert "NOAUTH" in machine.succeed(f"{client} PING")
    assert "OK" in machine.succeed(f"{client} --user {user} --pass {password} -n 1 SET key value")
    assert "NOPERM" in machine.succeed(f"{client} --user {user} --pass {password} CONFIG GET '*'")
  '';
}
