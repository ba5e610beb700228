# Derivations whose builder is busybox alone: no nixpkgs, and Nix's sandbox may be on.
# `busybox` is a store path with bin/busybox; it is called by that path, because busybox
# looks at argv[0] and a store path's hash is no applet.
{ busybox }:
let
  system = "x86_64-linux";
  shell = "${busybox}/bin/busybox";
in
rec {
  # Run a script; attributes are its environment.
  run =
    name: environment: script:
    derivation (
      environment
      // {
        inherit name system script;
        builder = shell;
        passAsFile = [ "script" ] ++ (environment.passAsFile or [ ]);
        args = [
          "sh"
          "-c"
          "${shell} mkdir bin; ${shell} --install -s bin; export PATH=$PWD/bin; . \"$scriptPath\""
        ];
      }
    );

  # A text file, with `executable` its mode.
  text =
    name: executable: content:
    derivation {
      inherit name system content;
      builder = shell;
      passAsFile = [ "content" ];
      args = [
        "sh"
        "-c"
        "${shell} cp \"$contentPath\" $out${if executable then " && ${shell} chmod 755 $out" else ""}"
      ];
    };

  # Many text files in one directory: { "a/b" = "content"; }.
  tree =
    name: files:
    let
      numbers = builtins.genList (n: n) (builtins.length (builtins.attrNames files));
    in
    run name
      (
        {
          targets = builtins.attrNames files;
          # One environment variable a file, so that one derivation does for all.
          passAsFile = map (n: "file${toString n}") numbers;
        }
        // builtins.listToAttrs (
          map (n: {
            name = "file${toString n}";
            value = builtins.elemAt (builtins.attrValues files) n;
          }) numbers
        )
      )
      ''
        set -e
        mkdir $out
        number=0
        for target in $targets; do
          mkdir -p $out/$(dirname $target)
          eval "cp \"\$file''${number}Path\" $out/$target"
          number=$((number + 1))
        done
      '';

  # An initrd: busybox, kernel modules to load in order, further files, and /init.
  initrd =
    {
      name,
      moduleSet,
      files,
      init,
    }:
    run name
      {
        inherit busybox moduleSet;
        fileTree = tree "${name}-files" files;
        initScript = text "${name}-init" true init;
      }
      ''
        set -e
        mkdir -p root/bin root/dev root/proc root/sys root/sysroot root/lib
        cp $busybox/bin/busybox root/bin/busybox
        ln -s busybox root/bin/sh
        cp -r $moduleSet root/lib/modules
        cp -r $fileTree root/etc
        cp $initScript root/init
        chmod -R u+w root
        mkdir $out
        # Same bytes for the same input: sorted names, no times.
        find root -exec touch -h -d @1 {} +
        (cd root; find . | sort | cpio -o -H newc -R 0:0) | gzip > $out/initrd
      '';
}
