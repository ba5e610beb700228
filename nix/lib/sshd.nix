# The ssh daemon's settings, and the same as text for sshd_config(5).
#
#   jumpHost   lets clients forward TCP connections through the machine
#   olderKeys  kinds of keys to take beside the policy's: names of its table `older`
#   penalties  PerSourcePenalties in sshd's own words; null for the policy's
#   without    algorithms and settings to leave out, where the OpenSSH at hand does not know them
{
  policy,
  jumpHost ? false,
  olderKeys ? [ ],
  penalties ? null,
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

  older = map (kind: sshd.older.${kind}) olderKeys;
  sizes = builtins.filter (size: size != null) (map (kind: kind.RequiredRSASize or null) older);

  changed =
    (if jumpHost then sshd.jumpHost else { })
    // (if penalties == null then { } else { PerSourcePenalties = penalties; })
    // {
      PubkeyAcceptedAlgorithms =
        sshd.settings.PubkeyAcceptedAlgorithms
        ++ builtins.concatMap (kind: kind.PubkeyAcceptedAlgorithms or [ ]) older;
      RequiredRSASize = builtins.foldl' (
        least: size: if size < least then size else least
      ) sshd.settings.RequiredRSASize sizes;
    };
  settings = builtins.mapAttrs forNixos (
    builtins.removeAttrs (sshd.settings // changed) without
  );

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
