# Every option of Kennel's modules, for whoever writes them down: a list of { name, type, default, example, description }.
# default and example are texts, as Nix has them; null: there is none.
#
# module: "nixos" or "devenv".
{ module }:
let
  lib = import ./stand-ins/lib;
  options = {
    nixos = (import ./evaluate.nix { configuration = ./configurations/nothing.nix; }).evaluation.options.services.kennel;
    devenv = (import ./devenv.nix { project = ./projects/example.nix; }).evaluation.options.scottylabs;
  };
  prefix = { nixos = [ "services" "kennel" ]; devenv = [ "scottylabs" ]; };

  key = name: if builtins.match "[A-Za-z_][A-Za-z0-9_-]*" name != null then name else builtins.toJSON name;
  shown = value:
    if value ? _type && value._type == "literalExpression" then value.text
    else if builtins.isString value then builtins.toJSON value
    else if builtins.isList value then "[ ${lib.concatMapStringsSep " " shown value}${if value == [ ] then "" else " "}]"
    else if lib.isDerivation value then value.name
    else if builtins.isAttrs value then
      (if value == { } then "{ }" else "{ ${lib.concatStrings (lib.mapAttrsToList (name: of: "${key name} = ${shown of}; ") value)}}")
    else if builtins.isFunction value then "a function"
    else builtins.toJSON value;

  # What is in each entry, where there are entries of their own.
  inner = type: type.options or (if type ? nested then inner type.nested else { });
  mark = type: if type ? options then [ ] else if lib.hasPrefix "attribute set" type.name then [ "NAME" ] else [ ];

  described = path: option:
    lib.optional (option.visible or true)
      {
        name = lib.showOption path;
        type = option.type.name;
        inherit (option) description;
        default =
          if option ? defaultText then (if builtins.isString option.defaultText then option.defaultText else shown option.defaultText)
          else if option ? default then shown option.default else null;
        example = if option ? example then shown option.example else null;
        readOnly = option.readOnly or false;
      }
    ++ listed (path ++ mark option.type) (builtins.removeAttrs (inner option.type) [ "_module" ]);

  listed = path: set: lib.concatMap
    (name: if lib.isOption set.${name} then described (path ++ [ name ]) set.${name} else listed (path ++ [ name ]) set.${name})
    (lib.attrNames set);
in
listed prefix.${module} options.${module}
