# Packages that no row of packages.toml can make, because nixpkgs' own expression does not evaluate
# to one derivation with a source of its own. It may be applied twice, where a package set is
# extended by overlays.
final: prev:
let
  inherit (prev) lib;

  # A package by its row alone.
  row =
    pname: passthru:
    final.stdenvNoCC.mkDerivation {
      inherit pname passthru;
      version = "debian";
      src = null;
    };

  modules = "linux-modules-";
  modDirVersion = lib.removePrefix modules (
    lib.findFirst (lib.hasPrefix modules) (throw "the pool has no kernel") (
      lib.attrNames (lib.importJSON ./pool.json)
    )
  );
  debianKernel = {
    inherit modDirVersion;
    version = lib.head (lib.splitString "+" modDirVersion);
  };

  withSite =
    package: package.overrideAttrs { inherit (final.python3) sitePackages; };
in
{
  # Haskell's: thousands of expressions for one checker. Whoever asks is told that there is none
  # for this platform, and does without the check (writeShellApplication).
  shellcheck = row "shellcheck" { compiler.bootstrapAvailable = false; };
  shellcheck-minimal = final.shellcheck;

  # Debian's kernel has modules of its own version.
  linuxPackages = prev.linuxPackages.extend (
    _: packages: {
      kernel = packages.kernel.overrideAttrs (old: {
        passthru = old.passthru // {
          inherit (debianKernel) version modDirVersion;
        };
      });
    }
  );

  # Where their Python packages lie is said by the Python that builds them.
  nixos-rebuild-ng = withSite prev.nixos-rebuild-ng;
}
# Only where the flake's own overlay brought it.
// lib.optionalAttrs (prev ? paranoid-install) {
  paranoid-install = withSite prev.paranoid-install;
}
