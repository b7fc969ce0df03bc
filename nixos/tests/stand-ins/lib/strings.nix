# Texts.
{ lib }:
rec {
  concatMapStringsSep = separator: f: values: builtins.concatStringsSep separator (map f values);
  concatStrings = builtins.concatStringsSep "";
  optionalString = condition: text: if condition then text else "";
  hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
  hasSuffix = suffix: text:
    let rest = builtins.stringLength text - builtins.stringLength suffix;
    in rest >= 0 && builtins.substring rest (-1) text == suffix;
  hasInfix = infix: text: builtins.length (lib.splitString infix text) > 1;
  removePrefix = prefix: text:
    if hasPrefix prefix text then builtins.substring (builtins.stringLength prefix) (-1) text else text;
  removeSuffix = suffix: text:
    if hasSuffix suffix text
    then builtins.substring 0 (builtins.stringLength text - builtins.stringLength suffix) text
    else text;
  escapeRegex = builtins.replaceStrings
    [ "\\" "." "+" "*" "?" "(" ")" "[" "]" "{" "}" "|" "^" "$" ]
    [ "\\\\" "\\." "\\+" "\\*" "\\?" "\\(" "\\)" "\\[" "\\]" "\\{" "\\}" "\\|" "\\^" "\\$" ];
  splitString = separator: text: builtins.filter builtins.isString (builtins.split (escapeRegex separator) text);
  toLower = builtins.replaceStrings
    (lib.splitString " " "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z")
    (lib.splitString " " "a b c d e f g h i j k l m n o p q r s t u v w x y z");
  toInt = text: builtins.fromJSON text;
  versionAtLeast = version: least: builtins.compareVersions version least >= 0;
  versionOlder = version: than: builtins.compareVersions version than < 0;
  escapeShellArg = value:
    let text = toString value;
    in if builtins.match "[[:alnum:],._+:@%/-]+" text != null then text
    else "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] text}'";
  escapeShellArgs = concatMapStringsSep " " escapeShellArg;
}
