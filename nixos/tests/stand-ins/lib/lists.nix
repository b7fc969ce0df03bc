# Lists and attribute sets.
{ lib }:
rec {
  id = value: value;
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  optionalAttrs = condition: values: if condition then values else { };
  toList = value: if builtins.isList value then value else [ value ];
  unique = builtins.foldl' (seen: value: if builtins.elem value seen then seen else seen ++ [ value ]) [ ];
  last = values: builtins.elemAt values (builtins.length values - 1);
  flatten = value: if builtins.isList value then builtins.concatMap flatten value else [ value ];

  nameValuePair = name: value: { inherit name value; };
  mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
  mapAttrs' = f: set: builtins.listToAttrs (mapAttrsToList f set);
  concatMapAttrs = f: set: builtins.foldl' (a: b: a // b) { } (mapAttrsToList f set);
  filterAttrs = keep: set:
    builtins.removeAttrs set (builtins.filter (name: !keep name set.${name}) (builtins.attrNames set));
  genAttrs = names: f: builtins.listToAttrs (map (name: nameValuePair name (f name)) names);
  attrByPath = path: default: set:
    if path == [ ] then set
    else if builtins.isAttrs set && set ? ${builtins.head path}
    then attrByPath (builtins.tail path) default set.${builtins.head path}
    else default;
  getAttrFromPath = path: set: attrByPath path (throw "there is no ${lib.showOption path}") set;
  setAttrByPath = path: value:
    if path == [ ] then value else { ${builtins.head path} = setAttrByPath (builtins.tail path) value; };
  mapAttrsRecursive = f:
    let
      go = path: builtins.mapAttrs (name: value:
        if builtins.isAttrs value then go (path ++ [ name ]) value else f (path ++ [ name ]) value);
    in
    go [ ];
  mapAttrsRecursiveCond = descend: f:
    let
      go = path: builtins.mapAttrs (name: value:
        if builtins.isAttrs value && descend value then go (path ++ [ name ]) value else f (path ++ [ name ]) value);
    in
    go [ ];
  recursiveUpdate = a: b:
    a // builtins.mapAttrs
      (name: value:
        if builtins.isAttrs value && builtins.isAttrs (a.${name} or null)
        then recursiveUpdate a.${name} value
        else value)
      b;
}
