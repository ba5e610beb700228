# What <nixpkgs/nixos> is on a NixOS live image: `-A system` is the toplevel of the
# configuration that NIXOS_CONFIG, or <nixos-config>, names. Here it is minios.
# The parts come ready-made from the live system's store (parts.json beside this,
# made in ../default.nix), so that an install builds only what its configuration changes.
{
  configuration ?
    let
      fromEnvironment = builtins.getEnv "NIXOS_CONFIG";
    in
    if fromEnvironment != "" then /. + fromEnvironment else <nixos-config>,
  parts ? builtins.mapAttrs (_: builtins.storePath) (
    builtins.fromJSON (builtins.readFile ../parts.json)
  ),
}:
let
  evaluated = import ../evaluate.nix configuration;
  pieces = parts // import ../build.nix { inherit (parts) busybox; };
in
{
  inherit (evaluated) config;
  system = import ../system.nix { inherit pieces evaluated; };
}
