# Everything that the tests take from here, built on the host:
#   nix-build tests/minios --arg debian DIR -A systems.bios
# `paranoid` is the directory of the paranoid modules, for the systems baked beforehand.
{
  debian,
  paranoid ? ../../nix,
  liveInit ? ../vm/live/stage1.sh,
}:
let
  parts = import ./parts.nix { inherit debian; };
  pieces = parts // import ./build.nix { inherit (parts) busybox; };

  # A system as it is baked into an image: labels only, no facts of a disk.
  baked =
    firmware:
    import ./system.nix {
      inherit pieces;
      evaluated = import ./evaluate.nix {
        imports = [ paranoid ];
        networking.hostName = "baked";
        paranoid.enable = true;
        paranoid.amnesia.size = "2G";
        paranoid.boot.firmware = firmware;
        paranoid.boot.device = "nodev";
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
    bios = baked "bios";
    uefi = baked "uefi";
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
