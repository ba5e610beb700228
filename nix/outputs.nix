# Everything that the flake gives, as a function of its inputs: flake.nix hands in the
# pinned ones, tests/nix and tests/iso whatever nixpkgs is at hand.
{
  # Sources: inputs of a flake, or paths.
  nixpkgs,
  impermanence,
  # nixpkgs' lib.nixosSystem, or what stands for it.
  nixosSystem ? args: import (nixpkgs + "/nixos/lib/eval-config.nix") ({ system = null; } // args),
}:

let
  system = "x86_64-linux";
  pkgs = import nixpkgs {
    localSystem = { inherit system; };
    overlays = [ overlay ];
  };
  inherit (pkgs) lib;

  # Where the modules look for the installer: it is the watch service's program, too.
  overlay = final: _: {
    paranoid-install = final.callPackage ./package.nix { inherit impermanence; };
  };

  withOverlay = module: {
    imports = [ module ];
    nixpkgs.overlays = [ overlay ];
  };

  # On an installed machine the modules find impermanence beside themselves; here it is an input.
  host = module: {
    imports = [
      (impermanence + "/nixos.nix")
      (withOverlay module)
    ];
  };

  live =
    module:
    withOverlay (
      { pkgs, ... }:
      {
        imports = [ module ];
        paranoid.image.package = lib.mkDefault pkgs.paranoid-install;
      }
    );

  # One module a subject, under the name of its file.
  subjects = lib.mapAttrs' (
    file: _: lib.nameValuePair (lib.removeSuffix ".nix" file) (host (./modules + "/${file}"))
  ) (builtins.readDir ./modules);

  nixosModules = subjects // {
    default = host ./.;
    ec2 = ../iso/ec2.nix;
    # Image variants of a host: system.build.images.paranoid-{iso,netboot,raw,ami}.
    images = {
      imports = [ ../iso/host-images.nix ];
      paranoid.images.installer = live { };
    };
    # The live systems themselves.
    iso = live ../iso/iso.nix;
    netboot = live ../iso/netboot.nix;
  };

  hostWith =
    modules:
    nixosSystem {
      modules = [
        nixosModules.default
        nixosModules.images
        { nixpkgs.hostPlatform = system; }
      ]
      ++ modules;
    };

  # The medium that a live module and settings of the operator give.
  medium =
    live: settings:
    (nixosSystem {
      modules = [
        live
        settings
        { nixpkgs.hostPlatform = system; }
      ];
    }).config.system.build.medium;

  meeka = hostWith [ ./hosts/meeka ];

  # What the check of style looks at: a checkout holds more than the repository does.
  styled = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.intersection (lib.fileset.fileFilter (file: !file.hasExt "pyc") ../.) (
      lib.fileset.unions [
        ../flake.nix
        ../installer
        ../iso
        ../nix
        ../pyproject.toml
        ../scripts
        ../tests
      ]
    );
  };
in
{
  inherit nixosModules;

  nixosConfigurations = { inherit meeka; };

  overlays.default = overlay;

  # For scripts/build-iso: an image with settings of one's own, paranoid.image.*.
  lib = {
    iso = medium nixosModules.iso;
    netboot = medium nixosModules.netboot;
  };

  packages.${system} = {
    default = pkgs.paranoid-install;
    inherit (pkgs) paranoid-install;
    iso = medium nixosModules.iso { };
    netboot = medium nixosModules.netboot { };
    raw-image = meeka.config.system.build.images.paranoid-raw;
    ami = meeka.config.system.build.images.paranoid-ami;
    options-doc = pkgs.writeText "options.md" (
      import ./options-doc.nix {
        inherit lib nixosModules nixosSystem;
        root = ../.;
      }
    );
  };

  checks.${system} = {
    lint =
      pkgs.runCommand "lint"
        {
          nativeBuildInputs = [
            pkgs.deadnix
            pkgs.nixfmt
            pkgs.ruff
            pkgs.shellcheck
            pkgs.statix
          ];
        }
        ''
          cd ${styled}
          find . -name '*.nix' -print0 | xargs -0 nixfmt --check
          deadnix --fail --no-lambda-pattern-names .
          # `a.b = 1; a.c = 2;` is how NixOS configurations are written.
          statix check --config ${pkgs.writeTextDir "statix.toml" ''disabled = [ "repeated_keys" ]''} .
          shellcheck iso/autoinstall iso/boot-installed scripts/build-iso
          ruff check --no-cache
          touch $out
        '';
  }
  // import ./tests { inherit hostWith nixpkgs pkgs; };

  formatter.${system} = pkgs.nixfmt-tree;

  devShells.${system}.default = pkgs.mkShell {
    inputsFrom = [ pkgs.paranoid-install ];
    packages = [
      pkgs.deadnix
      pkgs.nixfmt
      pkgs.qemu
      pkgs.shellcheck
      pkgs.statix
      (pkgs.python3.withPackages (python: [
        python.hypothesis
        python.mypy
        python.pytest
        python.ruff
      ]))
    ];
  };
}
