# The policy: each TOML file of the policy directory as an attribute of its name.
# It lies beside the modules where the installer has copied them, and in the
# Python package where this is the source tree.
let
  copied = ../policy;
  source = ../../installer/paranoid_install/policy;
  directory = if builtins.pathExists copied then copied else source;
  stem =
    file:
    let
      match = builtins.match "(.*)\\.toml" file;
    in
    if match == null then null else builtins.head match;
  names = builtins.filter (name: name != null) (
    map stem (builtins.attrNames (builtins.readDir directory))
  );
in
builtins.listToAttrs (
  map (name: {
    inherit name;
    value = builtins.fromTOML (builtins.readFile (directory + "/${name}.toml"));
  }) names
)
