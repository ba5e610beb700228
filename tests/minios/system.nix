# A toplevel store path in the form that NixOS gives it, from an evaluated configuration
# (evaluate.nix) and the pieces (pieces.nix). What is mounted comes from the paranoid
# module set's own lib/filesystems.nix, joined with what hardware-configuration.nix says.
{
  pieces,
  evaluated,
  # Debian's userland in place of busybox's: a path and its `known` algorithms (debian.nix).
  userland ? null,
  # Whether this is the system of the break-glass entry, and not the one that has it.
  breakGlass ? false,
}:
let
  inherit (evaluated) config paranoid;
  inherit (builtins)
    attrNames
    attrValues
    concatStringsSep
    elem
    filter
    foldl'
    hasAttr
    isString
    length
    listToAttrs
    mapAttrs
    replaceStrings
    sort
    split
    stringLength
    substring
    toJSON
    ;

  policy = import (paranoid + "/lib/policy.nix");
  layout = policy.layout;
  firmware = config.paranoid.boot.firmware;
  size = config.paranoid.amnesia.size or layout.root.size;
  bootDevice = if firmware == "uefi" then "nodev" else config.paranoid.boot.device;
  hostName = config.networking.hostName or "minios";

  wanted = import (paranoid + "/lib/filesystems.nix") { inherit policy size firmware; };

  # What noexec of the modules is, is not there in break-glass.
  mayExecute = if breakGlass then filter (option: option != "noexec") else options: options;

  unique = foldl' (seen: item: if elem item seen then seen else seen ++ [ item ]) [ ];
  startsWith = prefix: text: substring 0 (stringLength prefix) text == prefix;
  cut = prefix: text: substring (stringLength prefix) (stringLength text) text;

  # hardware-configuration.nix names devices, the policy says how they are mounted.
  stated = config.fileSystems or { };
  fileSystems = mapAttrs (
    mountPoint: _:
    let
      fromPolicy = wanted.fileSystems.${mountPoint} or { };
      fromHardware = stated.${mountPoint} or { };
      options = mayExecute (unique ((fromPolicy.options or [ ]) ++ (fromHardware.options or [ ])));
      sizes = filter (startsWith "size=") options;
    in
    {
      device = fromHardware.device or fromPolicy.device;
      fsType = fromHardware.fsType or fromPolicy.fsType;
      options =
        if length sizes > 1 then
          throw "minios: ${mountPoint} has more than one size: ${toString sizes}; paranoid.amnesia.size and hardware-configuration.nix disagree"
        else
          options;
    }
  ) (wanted.fileSystems // stated);

  persistedFiles =
    filter (bind: !elem bind.target (map (p: p.target) wanted.persisted))
      (
        map (file: {
          source = layout.persist.root + file;
          target = file;
        }) (layout.persist.files or [ ])
      );
  binds = wanted.persisted ++ persistedFiles;

  # What mount(8) is to be told: no options that are systemd's, nothing empty.
  plainOptions =
    options:
    let
      plain = filter (o: o != "defaults" && !(startsWith "x-" o) && !(startsWith "X-" o)) options;
    in
    if plain == [ ] then "defaults" else concatStringsSep "," plain;

  # No udev in the initrd: labels and UUIDs are looked up by mount itself.
  source =
    device:
    if startsWith "/dev/disk/by-label/" device then
      "LABEL=${cut "/dev/disk/by-label/" device}"
    else if startsWith "/dev/disk/by-uuid/" device then
      "UUID=${cut "/dev/disk/by-uuid/" device}"
    else
      device;

  depth = path: if path == "/" then 0 else length (filter isString (split "/" path));
  byDepth = sort (
    a: b: if depth a.target == depth b.target then a.target < b.target else depth a.target < depth b.target
  );

  line =
    mount:
    concatStringsSep "\t" [
      mount.source
      mount.target
      mount.type
      mount.options
    ];

  ownMounts = byDepth (
    attrValues (
      mapAttrs (target: fs: {
        inherit target;
        source = source fs.device;
        type = fs.fsType;
        options = plainOptions fs.options;
      }) fileSystems
    )
  );
  persistedMounts = byDepth (
    map (bind: {
      inherit (bind) source target;
      type = "none";
      options = "bind";
    }) (filter (bind: !hasAttr bind.target fileSystems) binds)
  );
  mountsFile = concatStringsSep "" (map (m: line m + "\n") (ownMounts ++ persistedMounts));

  initrd = pieces.initrd {
    name = "minios-initrd";
    moduleSet = pieces.modules;
    files = {
      "mounts" = mountsFile;
      "mount-table.sh" = builtins.readFile ./mount-table.sh;
    };
    init = builtins.readFile ./stage1.sh;
  };

  layoutFile = toJSON {
    version = 1;
    inherit firmware bootDevice;
    tmpfsSize = size;
    labels = {
      boot = layout.boot.label;
      nix = layout.nix.label;
    };
    authorizedKeysDirectory = layout.persist.authorizedKeys;
    passwordsDirectory = layout.persist.passwords;
  };

  keysOf = user: (config.users.users or { }).${user}.openssh.authorizedKeys.keys or [ ];
  usersWithKeys = filter (user: keysOf user != [ ]) (attrNames (config.users.users or { }));

  specials = wanted.special or { };
  specialsFile = concatStringsSep "" (
    map (target: "${target}\t${plainOptions (mayExecute (specials.${target}.options or [ ]))}\n") (
      sort (a: b: depth a < depth b) (attrNames specials)
    )
  );

  debian = import ./debian.nix {
    inherit policy paranoid breakGlass;
    inherit (userland) known;
  };

  specialisation =
    if !(config.paranoid.breakglass.enable or false) || breakGlass then
      null
    else if userland == null then
      throw "minios: paranoid.breakglass needs Debian's user land"
    else
      import ./system.nix {
        inherit pieces evaluated userland;
        breakGlass = true;
      };

  kernelParams = concatStringsSep " " (
    [
      "console=tty0"
      "console=ttyS0,115200n8"
      "panic=1"
      "net.ifnames=0"
    ]
    ++ (if userland == null then [ ] else debian.kernelParams)
  );

  etc = {
    "fstab" = concatStringsSep "" (
      map (m: "${m.source} ${m.target} ${m.type} ${m.options} 0 0\n") ownMounts
    );
    "hostname" = "${hostName}\n";
    "os-release" = ''
      ID=minios
      NAME="minios"
      PRETTY_NAME="minios (test system of paranoid-install)"
    '';
    "paranoid/layout.json" = layoutFile + "\n";
    "specials" = specialsFile;
  }
  // (
    if userland != null then
      debian.etc
    else
      {
        "inittab" = ''
          ::sysinit:/run/current-system/boot
          ttyS0::respawn:/run/current-system/sw/bin/getty -L 115200 ttyS0 vt100
          tty1::respawn:/run/current-system/sw/bin/getty 38400 tty1
          ::ctrlaltdel:/run/current-system/sw/bin/reboot
        '';
      }
  )
  // listToAttrs (
    map (user: {
      name = "ssh/authorized_keys.d/${user}";
      value = concatStringsSep "" (map (key: key + "\n") (keysOf user));
    }) usersWithKeys
  );

  etcTree = pieces.tree "minios-etc" etc;

  # A script with @name@ replaced by its value, run by the system's own shell.
  substitute =
    file: values:
    replaceStrings ([ "#!/bin/sh\n" ] ++ map (name: "@${name}@") (attrNames values)) (
      [ "#!${pieces.busybox}/bin/sh\n" ] ++ attrValues values
    ) (builtins.readFile file);
  common = {
    busybox = "${pieces.busybox}";
    userland = if userland == null then "" else "${userland.path}";
    persist = layout.persist.root;
    passwords = layout.persist.passwords;
  };
  scripts =
    if userland != null then
      debian.scripts
    else
      {
        init = ./init.sh;
        activate = ./activate.sh;
        boot = ./boot.sh;
      };
  script = name: file: pieces.text name true (substitute file common);
in
pieces.run "nixos-system-${hostName}-minios${if breakGlass then "-" + policy.breakglass.name else ""}"
  {
    inherit (pieces) busybox kernel;
    inherit
      initrd
      etcTree
      kernelParams
      specialisation
      ;
    specialisationName = policy.breakglass.name;
    initScript = script "init" scripts.init;
    activateScript = script "activate" scripts.activate;
    bootScript = script "boot" scripts.boot;
    reportScript = script "report" ./report.sh;
    specialsScript = script "specials" ./specials.sh;
    switchScript = pieces.text "switch-to-configuration" true (
      substitute ./switch-to-configuration.sh (
        common
        // {
          inherit firmware bootDevice;
          grub = if firmware == "bios" && bootDevice != "nodev" then "${pieces.grub}" else "";
          systemdBoot = if firmware == "uefi" then "${pieces.systemdBoot}" else "";
          bootLabel = layout.boot.label;
        }
      )
    );
  }
  ''
    set -e
    mkdir -p $out/bin $out/specialisation
    # The scripts name the toplevel that they belong to.
    for pair in $initScript:init $activateScript:activate $bootScript:boot \
                $reportScript:report $specialsScript:specials $switchScript:bin/switch-to-configuration; do
      sed "s,@toplevel@,$out,g" ''${pair%%:*} > $out/''${pair#*:}
      chmod 755 $out/''${pair#*:}
    done
    [ -z "$specialisation" ] || ln -s $specialisation $out/specialisation/$specialisationName
    ln -s $kernel/bzImage $out/kernel
    ln -s $initrd/initrd $out/initrd
    ln -s $etcTree $out/etc
    ln -s $busybox $out/sw
    printf '%s' "$kernelParams" > $out/kernel-params
    printf '%s' 'minios' > $out/nixos-version
    printf '%s' 'x86_64-linux' > $out/system
  ''
