# What minios is made of, out of a Debian root: each part a store path of its own, so that
# a closure holds only what it refers to. `debian` is a directory that
# tests/vm/vmlab/debian.py makes:
#   bootstrap/bin/busybox          busybox-static, the builder of everything
#   kernel/{vmlinuz,version,modules}  Debian's cloud kernel, /lib/modules/VERSION
#   grub/{sbin,lib,i386-pc}        grub-install, the libraries it loads, GRUB's BIOS modules
#   systemd-boot/systemd-bootx64.efi
{ debian }:
let
  source =
    name: path:
    builtins.path {
      inherit name path;
    };
  bootstrap = source "minios-bootstrap" (debian + "/bootstrap");
  inherit (import ./build.nix { busybox = bootstrap; }) run;
  kernelSource = source "debian-kernel" (debian + "/kernel");

  # The named modules and all that they need, and the order to load them in (file
  # `load-order`); `current` is the directory they are in. A built-in one needs nothing.
  moduleSet =
    name: names:
    run name
      {
        src = kernelSource;
        inherit names;
      }
      ''
        set -e
        version=$(cat $src/version)
        from=$src/modules
        to=$out/$version
        mkdir -p $to
        : > $out/load-order
        for name in $names; do
          file=$(sed -n "s,^\([^:]*/$name\.ko[^:]*\):.*,\1,p" $from/modules.dep)
          if [ -z "$file" ]; then
            grep -q "/$name\.ko" $from/modules.builtin || {
              echo "kernel $version has no module $name" >&2; exit 1; }
            continue
          fi
          # modules.dep lists what a module needs, the deepest last.
          ordered=
          for one in $file $(sed -n "s,^$file: *,,p" $from/modules.dep); do
            ordered="$one $ordered"
          done
          for one in $ordered; do
            grep -qxF "$one" $out/load-order && continue
            echo "$one" >> $out/load-order
            mkdir -p $to/$(dirname $one)
            cp $from/$one $to/$one
          done
        done
        ln -s $version $out/current
      '';
in
rec {
  busybox = run "minios-busybox" { inherit bootstrap; } ''
    set -e
    mkdir -p $out/bin
    cp $bootstrap/bin/busybox $out/bin/busybox
    for applet in $($out/bin/busybox --list); do
      [ "$applet" = busybox ] || ln -s busybox $out/bin/$applet
    done
    # What nixos-enter runs its commands with on a NixOS system.
    printf '#!%s/bin/sh\nexec %s/bin/sh "$@"\n' $out $out > $out/bin/bash
    chmod 755 $out/bin/bash
  '';

  kernel = run "minios-kernel" { src = kernelSource; } ''
    set -e
    mkdir $out
    cp $src/vmlinuz $out/bzImage
  '';

  modules = moduleSet "minios-modules" (import ./modules.nix);
  liveModules = moduleSet "live-modules" (import ./live-modules.nix);

  # grub-install, started by its own loader so that it runs in any root.
  grub =
    run "minios-grub"
      {
        src = source "debian-grub" (debian + "/grub");
        inherit busybox;
      }
      ''
        set -e
        cp -r $src $out
        chmod -R u+w $out
        mkdir $out/bin
        cat > $out/bin/grub-install <<END
        #!$busybox/bin/sh
        exec $out/lib/ld-linux-x86-64.so.2 --library-path $out/lib $out/sbin/grub-install --directory=$out/i386-pc "\$@"
        END
        chmod 755 $out/bin/grub-install
      '';

  systemdBoot = run "systemd-boot" { src = source "debian-systemd-boot" (debian + "/systemd-boot"); } ''
    cp -r $src $out
  '';
}
