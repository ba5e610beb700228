# The installer with everything it runs: its programs in PATH, and the NixOS modules,
# impermanence among them, that it lays into the machine's /etc/nixos.
{
  lib,
  python3Packages,
  installShellFiles,
  coreutils,
  cryptsetup,
  dosfstools,
  e2fsprogs,
  grub2,
  kmod,
  lvm2,
  mdadm,
  mkpasswd,
  nix,
  nixos-install-tools,
  openssh,
  parted,
  systemd,
  util-linux,
  # Source of nix-community/impermanence, at the revision that flake.lock pins.
  impermanence,
}:

let
  inherit (lib) fileset;

  project = (lib.importTOML ../pyproject.toml).project;

  # What no build reads is left out, so that changing it rebuilds no image.
  source = fileset.toSource {
    root = ../.;
    fileset = fileset.unions [
      ../LICENSE
      ../README.md
      ../pyproject.toml
      (fileset.fileFilter (file: !file.hasExt "pyc") ../installer)
      (fileset.difference ../nix (
        fileset.unions [
          ./completions.py
          ./options-doc.nix
          ./outputs.nix
          ./package.nix
          ./tests
        ]
      ))
    ];
  };
in
python3Packages.buildPythonApplication {
  pname = project.name;
  inherit (project) version;
  pyproject = true;

  src = source;

  build-system = [ python3Packages.hatchling ];

  dependencies = [
    python3Packages.pyudev
    python3Packages.rich
    python3Packages.sh
    python3Packages.tree-sitter
    python3Packages.tree-sitter-grammars.tree-sitter-nix
    python3Packages.typer
  ]
  # In the standard library from there on.
  ++ lib.optional (python3Packages.pythonOlder "3.14") python3Packages.backports-zstd;

  # Its upper bound is for speed alone, and nixpkgs has one version.
  pythonRelaxDeps = [ "typer" ];

  nativeBuildInputs = [ installShellFiles ];

  # The installer looks for ./impermanence beside the modules' default.nix.
  postInstall = ''
    modules=$out/${python3Packages.python.sitePackages}/paranoid_install/nix
    test -e "$modules/default.nix"
    cp -r ${impermanence} "$modules/impermanence"
  '';

  # Not by the program's wrapper: only Python sees its options as data.
  postFixup = ''
    for shell in bash fish zsh; do
      PYTHONPATH=$out/${python3Packages.python.sitePackages}:$PYTHONPATH \
        python ${./completions.py} $shell > completion.$shell
    done
    installShellCompletion --cmd ${project.name} completion.{bash,fish,zsh}
  '';

  # A prefix, so that the rest stays reachable: nixos-install's chroot looks for mount in
  # /run/current-system/sw/bin.
  makeWrapperArgs = [
    "--prefix"
    "PATH"
    ":"
    (lib.makeBinPath [
      coreutils
      cryptsetup
      dosfstools
      e2fsprogs
      grub2
      kmod
      lvm2
      mdadm
      mkpasswd
      nix
      nixos-install-tools
      openssh
      parted
      systemd
      util-linux
    ])
  ];

  pythonImportsCheck = [ "paranoid_install" ];

  # The tests need the whole repository, root and devices: scripts/test runs them.
  doCheck = false;

  meta = {
    inherit (project) description;
    license = lib.licenses.mit;
    mainProgram = "paranoid-install";
    platforms = [ "x86_64-linux" ];
  };
}
