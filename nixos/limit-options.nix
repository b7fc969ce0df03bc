# What a service may use: options that several tables have.
{ lib }:
let
  inherit (lib) mkOption types;
  bytes = import ./bytes.nix { inherit lib; };
in
{
  options = {
    memoryMax = mkOption {
      type = types.nullOr bytes.type;
      default = null;
      example = "512M";
      description = "Bytes of memory that a service gets, and at most.";
    };
    cpuWeight = mkOption {
      type = types.nullOr (types.ints.between 1 10000);
      default = null;
      description = "Its share of the processors, beside others.";
    };
    tasksMax = mkOption {
      type = types.nullOr types.ints.positive;
      default = null;
      description = "How many processes and threads it may have.";
    };
  };

  settings = limits: {
    memory_max = bytes.count limits.memoryMax;
    cpu_weight = limits.cpuWeight;
    tasks_max = limits.tasksMax;
  };
}
