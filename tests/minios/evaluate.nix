# A small stand-in for the NixOS module system: enough of it to evaluate a
# configuration.nix that paranoid-install writes, and to refuse anything else.
#
# Supported: a configuration as path, function or attribute set; `imports`; values merged
# as NixOS merges them (attribute sets by key, lists joined, equal scalars kept, unequal
# ones an error); mkDefault, mkForce, mkIf, mkMerge. An import that carries
# lib/filesystems.nix is the paranoid module set: its NixOS modules are not evaluated,
# its pure functions are what system.nix uses.
let
  override = priority: content: {
    _type = "override";
    inherit priority content;
  };

  lib = {
    mkDefault = override 1000;
    mkForce = override 50;
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
  };

  isType = type: value: builtins.isAttrs value && value._type or null == type;

  # One definition -> the plain definitions it stands for, each with its priority.
  discharge =
    value:
    if isType "override" value then
      map (inner: inner // { inherit (value) priority; }) (discharge value.content)
    else if isType "if" value then
      if value.condition then discharge value.content else [ ]
    else if isType "merge" value then
      builtins.concatLists (map discharge value.contents)
    else
      [
        {
          priority = 100;
          inherit value;
        }
      ];

  isSet = value: builtins.isAttrs value && !(value ? _type) && value.type or null != "derivation";

  show = path: builtins.concatStringsSep "." path;

  # Definitions of one option (or set of options) -> its value.
  merge =
    path: definitions:
    let
      discharged = builtins.concatLists (map discharge definitions);
      strongest = builtins.foldl' (
        best: d: if d.priority < best then d.priority else best
      ) 9999 discharged;
      values = map (d: d.value) (builtins.filter (d: d.priority == strongest) discharged);
      first = builtins.head values;
    in
    if builtins.all isSet values then
      builtins.mapAttrs (name: found: merge (path ++ [ name ]) found) (builtins.zipAttrsWith (_: v: v) values)
    else if builtins.all builtins.isList values then
      builtins.concatLists values
    else if builtins.all (value: value == first) values then
      first
    else
      throw "minios: option `${show path}' has conflicting definitions";

  # Every option that minios knows; `any` holds for each name below it.
  any = name: { "*" = name; };
  known = {
    imports = true;
    boot.initrd = {
      availableKernelModules = true;
      kernelModules = true;
    };
    boot.kernelModules = true;
    boot.extraModulePackages = true;
    fileSystems = any {
      device = true;
      fsType = true;
      options = true;
      neededForBoot = true;
    };
    hardware.cpu = any { updateMicrocode = true; };
    networking.hostName = true;
    nixpkgs.hostPlatform = true;
    paranoid = {
      enable = true;
      amnesia.size = true;
      boot.firmware = true;
      boot.device = true;
      breakglass.enable = true;
    };
    swapDevices = true;
    system.stateVersion = true;
    users.users = any { openssh.authorizedKeys.keys = true; };
  };

  check =
    path: schema: value:
    if schema == true then
      value
    else if !builtins.isAttrs value then
      throw "minios: option `${show path}' must be an attribute set"
    else
      builtins.mapAttrs (
        name: inner:
        let
          below = schema.${name} or schema."*" or null;
        in
        if below == null then
          throw "minios: the option `${show (path ++ [ name ])}' is not one that this test system knows (tests/minios/evaluate.nix)"
        else
          check (path ++ [ name ]) below inner
      ) value;

  # A directory that brings the paranoid modules, as /etc/nixos/paranoid does.
  isParanoid =
    module: builtins.isPath module && builtins.pathExists (module + "/lib/filesystems.nix");
in
configuration:
let
  arguments = {
    inherit lib;
    config = throw "minios: a configuration that reads `config' is beyond this test system";
    pkgs = throw "minios: there is no nixpkgs here";
    modulesPath = ./modules;
  };

  load =
    module:
    let
      body = if builtins.isPath module || builtins.isString module then import module else module;
      value = if builtins.isFunction body then body arguments else body;
    in
    [ (builtins.removeAttrs value [ "imports" ]) ]
    ++ builtins.concatLists (map load (builtins.filter (m: !isParanoid m) (value.imports or [ ])));

  paranoidModules =
    module:
    if isParanoid module then
      [ module ]
    else
      let
        body = if builtins.isPath module || builtins.isString module then import module else module;
        value = if builtins.isFunction body then body arguments else body;
      in
      builtins.concatLists (map paranoidModules (value.imports or [ ]));

  found = paranoidModules configuration;
in
{
  config = check [ ] known (merge [ ] (load configuration));
  # The directory of the paranoid modules that the configuration imports.
  paranoid =
    if builtins.length found == 1 then
      builtins.head found
    else
      throw "minios: the configuration must import the paranoid modules exactly once, not ${toString (builtins.length found)} times";
}
