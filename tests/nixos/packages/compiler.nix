# Debian's gcc under the names that nixpkgs calls it by. What it links finds its loader and its
# libraries in the store: only flags do that, since makeBinaryWrapper clears the environment.
{ bare, libraries }:
let
  flags = "-Wl,--dynamic-linker=${libraries}/lib/ld-linux-x86-64.so.2 -Wl,-rpath,${libraries}/lib";
  tools = [ "ar" "as" "ld" "nm" "objcopy" "objdump" "ranlib" "readelf" "strip" ];
in
bare.mkDerivation {
  name = "debian-compiler";
  buildCommand = ''
    mkdir -p $out/bin $out/nix-support
    for name in cc gcc; do
      printf '#!/bin/sh\nexec /usr/bin/gcc "$@" ${flags}\n' > $out/bin/$name
    done
    for name in c++ g++; do
      printf '#!/bin/sh\nexec /usr/bin/g++ "$@" ${flags}\n' > $out/bin/$name
    done
    chmod +x $out/bin/*
    for name in ${toString tools}; do
      ln -s /usr/bin/$name $out/bin/$name
    done
    printf 'export CC=gcc CXX=g++ AR=ar AS=as LD=ld NM=nm OBJCOPY=objcopy OBJDUMP=objdump RANLIB=ranlib READELF=readelf STRIP=strip\n' > $out/nix-support/setup-hook
  '';
  passthru = rec {
    isGNU = true;
    isClang = false;
    targetPrefix = "";
    nativeTools = false;
    nativeLibc = false;
    version = "15";
    cc = { inherit isGNU isClang version; lib = libraries; };
    bintools = {
      targetPrefix = "";
      isGNU = true;
      bintools = { isGNU = true; };
      dynamicLinker = "${libraries}/lib/ld-linux-x86-64.so.2";
    };
    defaultHardeningFlags = [ ];
    hardeningUnsupportedFlags = [ ];
  };
}
