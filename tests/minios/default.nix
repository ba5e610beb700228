# Everything that the tests take from here, built on the host:
#   nix-build tests/minios --arg debian DIR -A systems.bios
# `paranoid` is the directory of the paranoid modules, for the systems baked beforehand.
{
  debian,
  # tests/vm/vmlab/userland.py's directory, for the systems that Debian's systemd runs.
  userland ? null,
  paranoid ? ../../nix,
  liveInit ? ../vm/live/stage1.sh,
}:
let
  parts = import ./parts.nix { inherit debian; };
  pieces = parts // import ./build.nix { inherit (parts) busybox; };

  debianUserland = {
    path = builtins.path {
      name = "debian-userland";
      path = userland + "/root";
    };
    known = builtins.fromJSON (builtins.readFile (userland + "/algorithms.json"));
  };

  # A system as it is baked into an image: labels only, no facts of a disk.
  baked =
    firmware: userland:
    import ./system.nix {
      inherit pieces userland;
      evaluated = import ./evaluate.nix {
        imports = [ paranoid ];
        networking.hostName = "baked";
        paranoid.enable = true;
        paranoid.amnesia.size = "2G";
        paranoid.boot.firmware = firmware;
        paranoid.boot.device = "nodev";
        # Busybox's user land has nothing to take away for it.
        paranoid.breakglass.enable = userland != null;
        system.stateVersion = "26.05";
      };
    };
in
{
  # What <nixpkgs> is on the live system, with the parts ready-made beside it.
  channel =
    pieces.run "minios-channel"
      {
        src = builtins.path {
          path = ./.;
          name = "minios-source";
          filter = path: type: type == "directory" || builtins.match ".*\\.(nix|sh)" path != null;
        };
        partsFile = builtins.toJSON (
          builtins.mapAttrs (_: part: "${part}") (builtins.removeAttrs parts [ "liveModules" ])
        );
        passAsFile = [ "partsFile" ];
      }
      ''
        set -e
        cp -r $src $out
        chmod u+w $out
        cp "$partsFilePath" $out/parts.json
      '';
  systems = {
    bios = baked "bios" null;
    uefi = baked "uefi" null;
    debian-bios = baked "bios" debianUserland;
    debian-uefi = baked "uefi" debianUserland;
  };
  live = {
    inherit (parts) kernel;
    initrd = pieces.initrd {
      name = "live-initrd";
      moduleSet = parts.liveModules;
      files = { };
      init = builtins.readFile liveInit;
    };
  };
}
