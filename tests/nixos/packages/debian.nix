# Debian packages as store paths. pool.json is { "NAME": { "path", "sha256" , "libraries" }, … }, each file
# inside the builder's root; fixed hashes, so that another apt run rebuilds nothing that is the same.
{ lib, system }:

let
  index = lib.importJSON ./pool.json;
  table = lib.importTOML ./packages.toml;

  fixed =
    name: { path, sha256, ... }:
    derivation {
      inherit system;
      name = lib.strings.sanitizeDerivationName "${name}.${lib.last (lib.splitString "." path)}";
      builder = "/bin/cp";
      args = [
        path
        (builtins.placeholder "out")
      ];
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = sha256;
      preferLocalBuild = true;
    };

  lay =
    name: attrs:
    derivation (
      {
        inherit name system;
        builder = "/usr/bin/python3";
        args = import ./layout.nix { inherit lib; };
        __structuredAttrs = true;
        outputs = [ "out" ];
        preferLocalBuild = true;
      }
      // attrs
    );
in
rec {
  deb =
    name:
    fixed name (
      index.${name} or (throw "packages.toml names the Debian package ${name}; the pool has none")
    );

  # The files of a row. `linux-modules-*` is whichever package of the pool begins so: kernels have
  # their version in the name.
  debs =
    row:
    lib.concatMap (
      name:
      if lib.hasSuffix "*" name then
        map deb (lib.filter (lib.hasPrefix (lib.removeSuffix "*" name)) (lib.attrNames index))
      else
        [ (deb name) ]
    ) (row.debian or [ ] ++ map (crate: "crate-${crate}") (row.crates or [ ]));

  # Every shared library of the pool in one directory, each looking for the others beside itself.
  libraries = lay "debian-libraries" {
    entry = {
      name = "debian-libraries";
      layout = "libraries";
    };
    debs = map deb (lib.attrNames (lib.filterAttrs (_: package: package.libraries) index));
    interpreters = { };
  };

  # What the first line of a script may name: rows of the table, laid out without nixpkgs, since
  # its own packages are built with them.
  interpreter =
    name:
    let
      row =
        {
          sh = "bash";
          perl = "perl";
          python = "python3";
        }
        .${name};
      entry = table.${row};
    in
    lay "debian-${name}" {
      entry = entry // {
        name = row;
      };
      args = import ./layout.nix {
        inherit lib;
        amend = entry.amend or "";
      };
      debs = debs entry;
      inherit libraries;
      interpreters = lib.optionalAttrs (name != "sh") { sh = interpreter "sh"; };
    };
}
