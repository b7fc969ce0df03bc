# Each ref has a bucket and a key to it, at a Garage of one node.
{ helpers }:
{
  nodes.machine = { pkgs, ... }: {
    services.kennel.resources.garage = {
      enable = true;
      adminTokenFile = "${pkgs.writeText "token" "a-token-of-a-test"}";
      server = {
        enable = true;
        rpcSecretFile = "${pkgs.writeText "secret" "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}";
        capacity = "1G";
      };
    };
  };

  testScript = helpers + ''
    boot(machine)
    machine.wait_for_unit("kennel-garage-layout.service")
    commit(machine, "with a bucket", resources="garage")
    push(machine)
    until(machine, MAIN, "with a bucket")

    def variable(name):
        return machine.succeed(f"{CURL} --fail {MAIN}/{name}").strip()

    signed = f"--aws-sigv4 aws:amz:garage:s3 --user {variable('AWS_ACCESS_KEY_ID')}:{variable('AWS_SECRET_ACCESS_KEY')}"
    bucket = f"{variable('S3_ENDPOINT')}/{variable('S3_BUCKET')}"
    machine.succeed(f"echo world > /tmp/hello && {CURL} --fail {signed} --upload-file /tmp/hello {bucket}/hello")
    assert machine.succeed(f"{CURL} --fail {signed} {bucket}/hello") == "world\n"
    machine.fail(f"{CURL} --fail {bucket}/hello")
  '';
}
