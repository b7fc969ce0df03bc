# Types of options: `check` says whether a value is one, `merge` makes one of several.
{ lib }:
let
  inherit (builtins) all attrNames concatLists concatMap elem filter head isAttrs isList isString length map match;

  one = loc: definitions:
    let first = (head definitions).value;
    in
    if all (other: other.value == first) definitions then first
    else
      throw "The option `${lib.showOption loc}' has conflicting definition values: ${
      toString (map (other: "${other.file}") definitions)}";
  single = loc: definitions:
    if length definitions == 1 then (head definitions).value
    else throw "The option `${lib.showOption loc}' is defined several times: ${toString (map (d: d.file) definitions)}";

  simple = name: check: { inherit name check; merge = one; };
  whole = name: check: simple name (value: builtins.isInt value && check value);

  # lazy: a value may be made of others of the same set, which for that matter cannot be left out by a condition.
  attrs = lazy: name: of: {
    inherit name;
    nested = of;
    check = isAttrs;
    merge = loc: definitions:
      let
        parts = concatMap (one: map (value: { inherit (one) file; inherit value; }) (pushed one.value)) definitions;
        names = lib.unique (concatMap (one: attrNames one.value) parts);
        found = lib.genAttrs names (name:
          lib.merged (loc ++ [ name ]) of
            (concatMap
              (one: if one.value ? ${name} then [{ inherit (one) file; value = one.value.${name}; }] else [ ])
              parts));
      in
      builtins.mapAttrs (_: one: one.value) (if lazy then found else lib.filterAttrs (_: one: one.isDefined) found);
  };
  # mkMerge and mkIf may stand for a whole set; values of one hold their own.
  pushed = value:
    if value._type or null == "merge" then concatMap pushed value.contents
    else if value._type or null == "if" then (if value.condition then pushed value.content else [ ])
    else [ value ];

  types = rec {
    raw = { name = "raw value"; check = _: true; merge = single; };
    unspecified = { name = "unspecified"; check = _: true; merge = one; };
    bool = simple "boolean" builtins.isBool;
    int = whole "signed integer" (_: true);
    float = simple "floating point number" builtins.isFloat;
    number = either int float;
    ints = {
      positive = whole "positive integer, meaning >0" (value: value > 0);
      unsigned = whole "unsigned integer, meaning >=0" (value: value >= 0);
      between = low: high:
        whole "integer between ${toString low} and ${toString high} (both inclusive)"
          (value: value >= low && value <= high);
    };
    port = whole "16 bit unsigned integer; between 0 and 65535 (both inclusive)"
      (value: value >= 0 && value <= 65535);
    str = simple "string" isString;
    singleLineStr = simple "(optionally newline-terminated) single-line string"
      (value: isString value && match "[^\n]*\n?" value != null);
    strMatching = pattern: simple "string matching the pattern ${pattern}"
      (value: isString value && match pattern value != null);
    separatedString = separator: {
      name = "strings concatenated with ${builtins.toJSON separator}";
      check = isString;
      merge = _: definitions: builtins.concatStringsSep separator (map (one: one.value) definitions);
    };
    lines = separatedString "\n";
    path = simple "absolute path" (value:
      builtins.isPath value || lib.isDerivation value || (isString value && builtins.substring 0 1 value == "/"));
    package = simple "package"
      (value:
        lib.isDerivation value || (isString value && builtins.substring 0 1 value == "/"))
    // { merge = single; };
    enum = values: simple "one of ${lib.concatMapStringsSep ", " builtins.toJSON values}" (value: elem value values);
    nullOr = of: {
      name = "null or ${of.name}";
      nested = of;
      check = value: value == null || of.check value;
      merge = loc: definitions:
        if all (one: one.value == null) definitions then null
        else if builtins.any (one: one.value == null) definitions
        then throw "The option `${lib.showOption loc}' is both null and not null"
        else of.merge loc definitions;
    };
    listOf = of: {
      name = "list of ${of.name}";
      nested = of;
      check = isList;
      merge = loc: definitions: concatLists (map
        (one: map (value: (lib.merged (loc ++ [ "*" ]) of [{ inherit (one) file; inherit value; }]).value) one.value)
        definitions);
    };
    attrsOf = of: attrs false "attribute set of ${of.name}" of;
    lazyAttrsOf = of: attrs true "lazy attribute set of ${of.name}" of;
    functionTo = of: {
      name = "function that evaluates to a(n) ${of.name}";
      check = builtins.isFunction;
      merge = loc: definitions: argument:
        (lib.merged (loc ++ [ "<function body>" ]) of (map (one: { inherit (one) file; value = one.value argument; }) definitions)).value;
    };
    either = a: b: {
      name = "${a.name} or ${b.name}";
      check = value: a.check value || b.check value;
      merge = loc: definitions:
        if all (one: a.check one.value) definitions then a.merge loc definitions
        else if all (one: b.check one.value) definitions then b.merge loc definitions
        else one loc definitions;
    };
    oneOf = of: builtins.foldl' either (head of) (builtins.tail of);
    anything = {
      name = "anything";
      check = _: true;
      merge = loc: definitions:
        if all (one: isAttrs one.value && !lib.isDerivation one.value) definitions
        then (lazyAttrsOf anything).merge loc definitions
        else if all (one: isList one.value) definitions && length definitions > 1
        then concatLists (map (one: one.value) definitions)
        else one loc definitions;
    };
    submodule = modules: {
      name = "submodule";
      options = (lib.evalModules { modules = lib.toList modules; }).options;
      check = value: isAttrs value || builtins.isFunction value || builtins.isPath value;
      merge = loc: definitions:
        (lib.evalModules {
          prefix = loc;
          modules = lib.toList modules
            ++ [{ _module.args.name = lib.mkOptionDefault (lib.last loc); }]
            ++ map
            (one: if builtins.isFunction one.value || builtins.isPath one.value then one.value else {
              _file = one.file;
              config = one.value;
            })
            definitions;
        }).clean;
    };
  };
in
types
