# The ssh daemon's settings, and the same as text for sshd_config(5).
#
#   jumpHost  lets clients forward TCP connections through the machine
#   without   algorithms to leave out, where the OpenSSH at hand does not know them
{
  policy,
  jumpHost ? false,
  without ? [ ],
}:
let
  inherit (policy) layout sshd;

  # The list-valued settings that NixOS declares; it takes others as text only.
  declaredLists = [
    "KexAlgorithms"
    "Ciphers"
    "Macs"
  ];

  known = algorithms: builtins.filter (name: !(builtins.elem name without)) algorithms;

  forNixos =
    key: value:
    if !(builtins.isList value) then
      value
    else if builtins.elem key declaredLists then
      known value
    else
      builtins.concatStringsSep "," (known value);

  show =
    value:
    if value == true then
      "yes"
    else if value == false then
      "no"
    else if builtins.isList value then
      builtins.concatStringsSep "," value
    else
      toString value;

  changed = if jumpHost then sshd.jumpHost else { };
  settings = builtins.mapAttrs forNixos (sshd.settings // changed);

  hostKeys = layout.hostKeys;
  authorizedKeysFiles = sshd.authorizedKeysFiles ++ [ "${layout.persist.authorizedKeys}/%u" ];

  lines = [
    "Port ${toString sshd.port}"
    "AuthorizedKeysFile ${builtins.concatStringsSep " " authorizedKeysFiles}"
  ]
  ++ map (key: "HostKey ${key.path}") hostKeys
  ++ map (key: "${key} ${show settings.${key}}") (builtins.attrNames settings);
in
{
  inherit settings hostKeys authorizedKeysFiles;
  text = builtins.concatStringsSep "\n" lines + "\n";
}
