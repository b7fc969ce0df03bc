# The module system: options are declared, defined, checked and merged.
{ lib }:
let
  inherit (builtins) attrNames concatLists concatMap elem filter foldl' head isAttrs isFunction length map mapAttrs;
  inherit (lib) isOption showOption;

  asModule = path: module:
    let
      whole = module ? config || module ? options;
      known = [ "_file" "key" "imports" "options" "config" "disabledModules" "meta" "freeformType" "_class" ];
      unknown = filter (name: !elem name known) (attrNames module);
      file = module._file or path;
    in
    if whole && unknown != [ ]
    then throw "${file}: a module with options or config has ${toString unknown} beside them"
    else {
      inherit file;
      imports = module.imports or [ ];
      options = module.options or { };
      freeform = module.freeformType or null;
      config = if whole then module.config or { } else removeAttrs module known;
    };

  called = arguments: module:
    if isFunction module then module (arguments (builtins.functionArgs module)) else module;

  # All modules that are imported, each file once.
  collected = arguments: modules:
    let
      go = state: module:
        let
          isFile = builtins.isPath module || builtins.isString module;
          key = toString module;
          path = if isFile then key else "a module without a file";
          this = asModule path (called arguments (if isFile then import module else module));
          seen = if isFile then state // { keys = state.keys ++ [ key ]; } else state;
          inner = foldl' go seen this.imports;
        in
        if isFile && elem key state.keys then state
        else inner // { modules = inner.modules ++ [ this ]; };
    in
    (foldl' go { keys = [ ]; modules = [ ]; } modules).modules;

  # A definition with its conditions at its leaves.
  pushed = config:
    if config._type or null == "merge" then concatMap pushed config.contents
    else if config._type or null == "if" then map (mapAttrs (_: lib.mkIf config.condition)) (pushed config.content)
    else if config._type or null == "override"
    then map (mapAttrs (_: lib.mkOverride config.priority)) (pushed config.content)
    else [ config ];

  # Its values, without conditions, with their priority and order.
  discharged = { file, value }:
    let
      go = priority: order: value:
        let kind = if isAttrs value then value._type or null else null;
        in
        if kind == "merge" then concatMap (go priority order) value.contents
        else if kind == "if" then (if value.condition then go priority order value.content else [ ])
        else if kind == "override" then go value.priority order value.content
        else if kind == "order" then go priority value.priority value.content
        else [{ inherit file priority order value; }];
    in
    go 100 1000 value;

  least = foldl' (a: b: if b < a then b else a) 9999;

  # The definitions that count, in their order.
  counting = definitions:
    let
      all = concatMap discharged definitions;
      strongest = least (map (one: one.priority) all);
      ordered = builtins.sort (a: b: a.order < b.order);
    in
    { priority = strongest; values = ordered (filter (one: one.priority == strongest) all); };

  shown = value: if isFunction value then "a function" else if isAttrs value || builtins.isList value
  then builtins.typeOf value else builtins.toJSON value;

  merged = loc: type: definitions:
    let
      found = counting definitions;
      wrong = filter (one: !type.check one.value) found.values;
    in
    {
      isDefined = found.values != [ ];
      inherit (found) priority values;
      value =
        if wrong != [ ] then
          throw
            ("A definition for option `${showOption loc}' is not of type `${type.name}': "
              + "${shown (head wrong).value} (${(head wrong).file})")
        else type.merge loc found.values;
    };

  evaluated = loc: declarations: definitions:
    let
      option = (head declarations).value;
      type = option.type or lib.types.unspecified;
      default = filter (_: option ? default)
        [{ file = "its default"; value = lib.mkOptionDefault option.default; }];
      found = merged loc type (definitions ++ default);
      apply = option.apply or lib.id;
    in
    if length declarations > 1 then
      throw "The option `${showOption loc}' is declared twice: ${toString (map (one: one.file) declarations)}"
    else if option.readOnly or false && definitions != [ ] && option ? default then
      throw "The option `${showOption loc}' is read-only, but it's set: ${(head definitions).file}"
    else option // {
      inherit loc type;
      inherit (found) isDefined;
      highestPrio = found.priority;
      definitions = map (one: one.value) found.values;
      definitionsWithLocations = map (one: { inherit (one) file value; }) found.values;
      value =
        if found.isDefined then apply found.value
        else throw "The option `${showOption loc}' is used but not defined.";
    };

  # loc: where we are. declarations: { file, value } of trees of options. definitions: the same of configurations.
  tree = freeform: loc: declarations: definitions:
    let
      parts = concatMap (one: map (value: { inherit (one) file; inherit value; }) (pushed one.value)) definitions;
      here = name: ofAll: concatMap
        (one: if one.value ? ${name} then [{ inherit (one) file; value = one.value.${name}; }] else [ ])
        ofAll;
      declared = lib.unique (concatMap (one: attrNames one.value) declarations);
      defined = lib.unique (concatMap (one: attrNames one.value) parts);
      unmatched = filter (name: !elem name declared) defined;
      files = name: toString (map (one: one.file) (here name parts));
      child = name:
        let mine = here name declarations;
        in
        if builtins.any (one: isOption one.value) mine
        then { option = evaluated (loc ++ [ name ]) mine (here name parts); }
        else { tree = tree null (loc ++ [ name ]) mine (here name parts); };
      children = lib.genAttrs declared child;
      free = merged loc freeform (map (one: one // { value = lib.filterAttrs (name: _: elem name unmatched) one.value; }) parts);
    in
    {
      options = mapAttrs (_: one: one.option or one.tree.options) children;
      config =
        if unmatched != [ ] && freeform == null then
          throw
            ("The option `${showOption (loc ++ [ (head unmatched) ])}' does not exist. "
              + "Defined in ${files (head unmatched)}")
        else (if freeform != null && parts != [ ] then free.value else { })
          // mapAttrs (_: one: if one ? option then one.option.value else one.tree.config) children;
    };
in
{
  inherit merged;

  # Returns { options, config, clean }: clean is config without what is the module system's own.
  evalModules = { modules, specialArgs ? { }, prefix ? [ ] }:
    let
      given = { inherit lib; inherit (result) config options; } // specialArgs;
      arguments = wanted: given // mapAttrs (name: _: given.${name} or result.config._module.args.${name}) wanted;
      own = { options._module.args = lib.mkOption { type = lib.types.lazyAttrsOf lib.types.raw; default = { }; }; };
      all = collected arguments ([ own ] ++ modules);
      result = tree
        (foldl' (found: one: if one.freeform != null then one.freeform else found) null all)
        prefix
        (map (one: { inherit (one) file; value = one.options; }) all)
        (map (one: { inherit (one) file; value = one.config; }) all);
    in
    result // { clean = removeAttrs result.config [ "_module" ]; };
}
