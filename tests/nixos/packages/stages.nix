# Stages of nixpkgs' standard environment (its pkgs/stdenv/default.nix is replaced by a file
# that imports this): whatever nixpkgs would compile is laid out from Debian's packages by
# packages.toml; whatever it writes itself (units, /etc, scripts, images) is built for real.
# ./pool.json beside this is made by the lab (debian.nix says what is in it).
{
  lib,
  localSystem,
  crossSystem,
  config,
  overlays,
  ...
}:

assert crossSystem.system == localSystem.system;

let
  pkgs = ../..;
  generic = import ../generic { defaultConfig = config; };

  common = {
    buildPlatform = localSystem;
    hostPlatform = localSystem;
    targetPlatform = localSystem;
  };

  # Debian's own tools: what lays packages out runs with them, and no store path is needed.
  bare = generic (
    common
    // {
      shell = "/bin/bash";
      initialPath = [ "/usr" ];
      cc = null;
      fetchurlBoot = null;
      preHook = "export NIX_ENFORCE_PURITY=";
    }
  );

  makeDerivation = stdenv: (import ../generic/make-derivation.nix lib config stdenv).mkDerivation;

  debian = import ./debian.nix {
    inherit lib;
    inherit (localSystem) system;
  };

  replace = import ./replace.nix {
    inherit debian lib;
    mkDerivation = makeDerivation bare;
  };

  withDebian =
    arguments:
    generic (
      common
      // arguments
      // {
        mkDerivationFromStdenv = stdenv: replace stdenv (makeDerivation stdenv);
      }
    );
in
[
  (
    { }:
    {
      __raw = true;
      stdenv = bare;
      fetchurl = import (pkgs + "/build-support/fetchurl") {
        inherit lib;
        # A source that has a row (a picture, say) is not fetched.
        stdenvNoCC = bare // {
          mkDerivation = replace bare (makeDerivation bare);
        };
        curl = null;
        inherit (config) hashedMirrors rewriteURL;
      };
      cc = import ./compiler.nix { inherit bare; inherit (debian) libraries; };
    }
  )

  # Packages alone: the tools that the last stage builds with.
  (previous: {
    inherit config;
    overlays = overlays ++ [ (import ./overlay.nix) ];
    stdenv =
      withDebian {
        inherit (bare) shell;
        initialPath = [ "/usr" ];
        inherit (previous) cc;
        fetchurlBoot = previous.fetchurl;
        overrides = _: _: { inherit (previous) fetchurl; };
      }
      // {
        inherit (previous) fetchurl;
      };
  })

  (previous: {
    inherit config;
    overlays = overlays ++ [ (import ./overlay.nix) ];
    stdenv = withDebian {
      shell = previous.bash + "/bin/bash";
      initialPath = import ../generic/common-path.nix { pkgs = previous; };
      extraNativeBuildInputs = [ previous.patchelf ];
      cc = previous.stdenv.cc // {
        libc = previous.glibc;
      };
      fetchurlBoot = previous.stdenv.fetchurl;
      overrides = _: _: { inherit (previous.stdenv) fetchurl; };
    };
  })
]
