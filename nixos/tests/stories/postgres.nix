# Each ref has a database of its own, and gets into no other.
{ helpers }:
{
  nodes.machine = { pkgs, ... }: {
    services.kennel.resources.postgres.enable = true;
    environment.systemPackages = [ pkgs.postgresql ];
  };

  testScript = helpers + ''
    boot(machine)
    commit(machine, "with a database", resources="postgres")
    push(machine)
    until(machine, MAIN, "with a database")

    url = machine.succeed(f"{CURL} --fail {MAIN}/DATABASE_URL").strip()
    assert url.startswith("postgresql:///kennel_shop_main?host=/run/postgresql")
    nobody = "runuser -u nobody --"
    machine.succeed(f"{nobody} psql --no-psqlrc '{url}' --command 'CREATE TABLE mine (id int)'")
    machine.fail(f"{nobody} psql --no-psqlrc '{url.replace('kennel_shop_main?', 'postgres?')}' --command 'SELECT 1'")
    machine.fail("kennel status 2>&1 | grep warning")
    assert "kennel_shop_main" in machine.succeed("kennel resources")
  '';
}
