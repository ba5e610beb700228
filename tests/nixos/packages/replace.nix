# mkDerivation that looks at what it is asked for: a package that would be compiled becomes
# Debian's files in the same layout; everything else is built as nixpkgs says.
{
  lib,
  debian,
  mkDerivation,
}:

let
  table = lib.importTOML ./packages.toml;

  # What nixpkgs writes itself has no source, or one without the name of a package (a template
  # that is filled in). Only names of attributes are looked at: a source may refer to the
  # package that it is the source of.
  compiled =
    attrs:
    attrs ? pname
    && !(attrs ? buildCommand || attrs ? text)
    && (attrs ? src || attrs ? srcs || attrs ? cargoDeps);

  # A text or an image goes by its whole name: one of ours bears that of a package.
  key =
    attrs:
    let
      name = builtins.unsafeDiscardStringContext attrs.name;
    in
    attrs.pname or (if attrs ? src then (builtins.parseDrvName name).name else name);

  outputsOf = attrs: attrs.outputs or [ "out" ];

  frame = amend: attrs: {
    ${if attrs ? pname then "pname" else "name"} = attrs.pname or attrs.name;
    ${if attrs ? pname then "version" else null} = attrs.version or "0";
    outputs = outputsOf attrs;
    meta = removeAttrs (attrs.meta or { }) [
      "broken"
      "badPlatforms"
      "knownVulnerabilities"
    ];
    passthru = attrs.passthru or { };
    __structuredAttrs = true;
    # Not for a builder of nixpkgs: Debian's Python, from the builder's own root.
    realBuilder = "/usr/bin/python3";
    args = import ./layout.nix { inherit amend lib; };
    preferLocalBuild = true;
  };

  # An entry of the table with what it means: the store paths of the Debian packages.
  laidOut =
    name: entry: attrs:
    frame (entry.amend or "") attrs
    // {
      entry = entry // {
        inherit name;
      };
      debs = debian.debs entry;
      libraries = debian.libraries;
      interpreters = lib.genAttrs (entry.interpreters or [ "sh" ]) debian.interpreter;
    }
    # What a row takes over of nixpkgs' own derivation, by name.
    // lib.genAttrs (entry.takes or [ ]) (attribute: attrs.${attribute} or "");

  unlisted =
    name: attrs:
    frame "" attrs
    // {
      entry = {
        inherit name;
        unlisted = true;
      };
      interpreters = { };
    };
in
stdenv: real: fnOrAttrs:
let
  # nixpkgs' own fixed point (make-derivation.nix), so that an override sees the attributes
  # as the package wrote them and not what they became here.
  extensible =
    rattrs:
    let
      attrs = rattrs (attrs // { inherit finalPackage overrideAttrs; });
      overrideAttrs =
        change:
        extensible (
          final:
          let
            previous = rattrs final;
            applied = if lib.isFunction change then change previous else change;
            two = if lib.isFunction applied then change final previous else applied;
          in
          previous // removeAttrs two [ "__intentionallyOverridingVersion" ]
        );
      # Its attributes too: other packages are made from the same source.
      finalPackage =
        attrs
        // derive attrs
        // {
          # Python's packages are built with the environment of their interpreter.
          inherit overrideAttrs stdenv;
        };
    in
    finalPackage;

  derive =
    attrs:
    let
      name = key attrs;
      entry = table.${name} or null;
    in
    if entry != null && !(entry ? keep) then
      mkDerivation (laidOut name entry attrs)
    else if entry == null && compiled attrs then
      mkDerivation (unlisted name attrs)
    else
      real attrs;
in
extensible (lib.toFunction fnOrAttrs)
