# The auto-install image, whatever it boots from: the unit that runs paranoid-install, its
# answers, and what is installed without a network. iso.nix and netboot.nix make media of it.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib) mkOption types;

  cfg = config.paranoid.image;
  policy = import ../nix/lib/policy.nix;
  keys = import ../nix/lib/keys.nix;
  toml = pkgs.formats.toml { };

  withDirectory =
    name: file:
    pkgs.runCommand name { } ''
      install -D --mode=755 ${file} $out/bin/${name}
      patchShebangs $out/bin
    '';

  autoinstall = withDirectory "autoinstall" ./autoinstall;
  bootInstalled = withDirectory "boot-installed" ./boot-installed;

  # nixos-install's chroot finds mount in the last of these.
  path =
    lib.makeBinPath [
      bootInstalled
      cfg.package
      config.systemd.package
      pkgs.coreutils
      pkgs.kexec-tools
      pkgs.util-linux
    ]
    + ":/run/current-system/sw/bin";

  # KEY=value lines for systemd's EnvironmentFile=; no value here holds a blank or a quote.
  settings = pkgs.writeText "autoinstall.conf" (
    lib.concatLines (
      lib.mapAttrsToList (name: value: "${name}=${value}") {
        ANSWERS = "/etc/paranoid/answers.toml";
        WHEN_INSTALLED = cfg.whenInstalled;
        WHEN_REFUSED = cfg.whenRefused;
      }
    )
  );

  fill = lib.replaceStrings [ "@autoinstall@" "@path@" "@settings@" "@shell@" ] [
    "${autoinstall}/bin/autoinstall"
    path
    "${settings}"
    (lib.getExe pkgs.bashInteractive)
  ];

  unit = file: fill (builtins.readFile file);

  # One system a kind of firmware, and each says which in its layout.
  checkedAnswers =
    pkgs.runCommand "answers.toml"
      {
        nativeBuildInputs = [ pkgs.jq ];
        answers = toml.generate "answers.toml" cfg.answers;
        systems = map toString cfg.systems;
      }
      ''
        declare -A baked
        for system in $systems; do
          layout=$system/etc/paranoid/layout.json
          if ! [ -e "$layout" ]; then
            echo "$system: no etc/paranoid/layout.json; bake in a system with paranoid.enable = true" >&2
            exit 1
          fi
          firmware=$(jq --raw-output .firmware "$layout")
          device=$(jq --raw-output .bootDevice "$layout")
          if [ "$device" != nodev ]; then
            echo "$system: its boot loader goes to $device; set paranoid.boot.device = \"nodev\"" >&2
            exit 1
          fi
          if [ -n "''${baked[$firmware]-}" ]; then
            echo "$system and ''${baked[$firmware]}: both are for $firmware; bake in one of them" >&2
            exit 1
          fi
          baked[$firmware]=$system
        done
        cp "$answers" $out
      '';

  isCryptHash = hash: builtins.match "\\$(y|gy|7|2b|6|5)\\$[^:[:space:]]+" hash != null;

  keyModule = {
    options = {
      key = mkOption {
        type = types.nullOr types.singleLineStr;
        default = null;
        example = "ssh-ed25519 AAAAC3Nza... root@console";
        description = "The public key itself; a string in place of the set means the same.";
      };
      url = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "https://github.com/octocat.keys";
        description = ''
          Where the keys are fetched from when the image is built; {option}`hash` says what has
          to come. Why a hash: whoever controls that address later must not get into machines
          that are installed from an image built today.
        '';
      };
      file = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = lib.literalExpression "./octocat.keys";
        description = ''
          A file with one key a line. Give {option}`hash` as well where the file was fetched
          from somewhere, as {command}`scripts/build-iso --github-user` does.
        '';
      };
      hash = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        description = "SRI hash of the keys. Needed with {option}`url`; checked with {option}`file`.";
      };
    };
  };

  # What each entry of sshKeys becomes in the answers: a key, or a file of keys.
  keyAnswer =
    {
      key,
      url,
      file,
      hash,
    }:
    if key != null then
      key
    else if url != null then
      "${pkgs.fetchurl { inherit url hash; }}"
    else
      "${builtins.path {
        name = "authorized_keys";
        path = file;
      }}";

  hashOf =
    file:
    builtins.convertHash {
      hash = builtins.hashFile "sha256" file;
      hashAlgo = "sha256";
      toHashFormat = "sri";
    };

  accepts = keys.ofSettings (import ../nix/lib/sshd.nix {
    inherit policy;
    inherit (cfg) olderKeys;
  }).settings;

  # The keys of an entry; null where it has none, or more than one source, or they are yet to come.
  linesOf =
    entry:
    if entry.key != null && entry.file == null then
      [ entry.key ]
    else if entry.file != null && entry.key == null && entry.url == null then
      keys.linesOf (builtins.readFile entry.file)
    else
      null;
  reasonsOf =
    entry: map (line: "${keys.shown line}: ${toString (keys.refusal accepts line)}") (linesOf entry);

  keyAssertions = entry: [
    {
      assertion = lib.count (source: source != null) [
        entry.key
        entry.url
        entry.file
      ] == 1;
      message = "paranoid.image.sshKeys: an entry needs one of `key', `url' and `file'.";
    }
    {
      assertion = entry.url != null -> entry.hash != null;
      message = ''
        paranoid.image.sshKeys: ${toString entry.url} has no hash. Keys that are fetched without
        one are whatever that address serves on the day of the build. Fetch them once with
        scripts/build-iso --github-user, or set `hash'.
      '';
    }
    {
      # What is yet to be fetched is judged by the installer.
      assertion = linesOf entry == null || lib.any (line: keys.refusal accepts line == null) (linesOf entry);
      message = ''
        paranoid.image.sshKeys: ${if entry.file != null then toString entry.file else "the key"} lets
        nobody in: ${lib.concatStringsSep "; " (reasonsOf entry)}. Give another key, made with
        ssh-keygen -t ed25519, or say paranoid.image.olderKeys as the systems do with
        paranoid.sshd.olderKeys.
      '';
    }
    {
      assertion = entry.file != null && entry.hash != null -> hashOf entry.file == entry.hash;
      message = ''
        paranoid.image.sshKeys: ${toString entry.file} has the hash ${hashOf entry.file},
        not ${toString entry.hash}. Look at what has changed in it.
      '';
    }
  ];
in
{
  imports = [ ./live.nix ];

  options.paranoid.image = {
    package = mkOption {
      type = types.package;
      defaultText = lib.literalMD "the installer of this repository's flake";
      example = lib.literalExpression "pkgs.paranoid-install";
      description = "The installer. Why an option: to put a patched one on an image.";
    };

    answers = mkOption {
      type = types.attrsOf (
        types.oneOf [
          types.bool
          types.int
          types.str
          (types.listOf types.str)
        ]
      );
      default = { };
      example = {
        disk = "serial=S4EMNX0R123456";
        tmpfs-size = "4G";
        countdown = 60;
      };
      description = ''
        The answer file baked into the image: an option of {command}`paranoid-install` without
        its dashes, and the value. The kernel command line (`paranoid.disk=/dev/vda`) wins over
        it, so that one image can serve different machines.

        `disk` is `auto`, the only blank disk of the machine, unless set; `wait-for-disk` is 60
        seconds, `countdown` 30, `then` is `poweroff`.
      '';
    };

    systems = mkOption {
      type = types.listOf types.package;
      default = [ ];
      example = lib.literalExpression "[ self.nixosConfigurations.meeka.config.system.build.toplevel ]";
      description = ''
        Systems to install, whole in the image's store, so that the installation needs no
        network: one a kind of firmware. Which that is, the system says itself in
        {file}`etc/paranoid/layout.json`. Why they need `paranoid.boot.device = "nodev"`: the
        disk is not known when the image is built; the installer writes the boot loader.

        Empty: the machine downloads what its configuration needs.
      '';
    };

    sshKeys = mkOption {
      type = types.listOf (
        types.coercedTo types.str (key: { inherit key; }) (types.submodule keyModule)
      );
      default = [ ];
      example = lib.literalExpression ''
        [
          "ssh-ed25519 AAAAC3Nza... root@console"
          { url = "https://github.com/octocat.keys"; hash = "sha256-..."; }
        ]
      '';
      description = ''
        Public keys for root of the installed machine: the key itself, or a fetch that is pinned
        by its hash. Why here as well as in a configuration: one system can be installed for
        people who don't share a key.
      '';
    };

    olderKeys = mkOption {
      type = types.listOf (types.enum (lib.attrNames policy.sshd.older));
      default = [ ];
      example = [ "rsa-2048" ];
      description = ''
        Kinds of keys that the systems to be installed take beside the policy's: what they say with
        {option}`paranoid.sshd.olderKeys`. Why here as well: {option}`sshKeys` is judged when the
        image is built, and a key that lets nobody in is refused.
      '';
    };

    rootPasswordHash = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";
      description = ''
        Hash of root's password on the installed machine, as {command}`mkpasswd` prints it, for
        its local console. Everybody who can read the image can try passwords against it, so
        there is none by default, and never the password itself.
      '';
    };

    whenInstalled = mkOption {
      type = types.enum [
        "boot"
        "poweroff"
        "wait"
      ];
      default = "boot";
      example = "poweroff";
      description = ''
        What happens on a machine whose disk, the one that the answers mean, carries an install
        record that names it. `boot` starts the system on the disk by kexec: firmware that prefers
        the medium would otherwise come back to it for ever. It is never installed again.
      '';
    };

    whenRefused = mkOption {
      type = types.enum [
        "wait"
        "poweroff"
      ];
      default = "wait";
      example = "poweroff";
      description = ''
        What happens when the installer refused, or failed before it wrote anything (exit codes
        2, 3 and 4). After a failure with the disk touched (5, 6) the machine always waits, with
        the log on its consoles and a shell for root: a reboot would destroy the evidence.
      '';
    };

    consoles = mkOption {
      type = types.listOf types.str;
      default = [
        "ttyS0,115200n8"
        "tty0"
      ];
      example = [ "ttyAMA0,115200n8" ];
      description = ''
        Kernel consoles; the installation is shown on all of them, and the last one's Ctrl-C
        ends the countdown. One that a machine has not got does no harm. Why both by default:
        machines in racks and clouds have no screen, those on desks no serial line.
      '';
    };
  };

  config = {
    paranoid.image.answers = lib.mkMerge [
      (lib.mapAttrs (_: lib.mkDefault) {
        disk = "auto";
        wait-for-disk = 60;
        countdown = 30;
        "then" = "poweroff";
      })
      (lib.mkIf (cfg.systems != [ ]) { system = map toString cfg.systems; })
      (lib.mkIf (cfg.sshKeys != [ ]) { ssh-key = map keyAnswer cfg.sshKeys; })
      (lib.mkIf (cfg.rootPasswordHash != null) {
        root-password-hash-file = "/etc/paranoid/root-password-hash";
      })
    ];

    assertions = lib.concatMap keyAssertions cfg.sshKeys ++ [
      {
        assertion = cfg.rootPasswordHash != null -> isCryptHash cfg.rootPasswordHash;
        message = ''
          paranoid.image.rootPasswordHash is no hash of crypt(5). Make one with
          `mkpasswd --method=yescrypt'; a password itself has no place in an image.
        '';
      }
    ];

    environment.etc = {
      "paranoid/answers.toml".source = checkedAnswers;
      "paranoid/root-password-hash" = lib.mkIf (cfg.rootPasswordHash != null) {
        text = cfg.rootPasswordHash + "\n";
        mode = "0400";
      };
    };

    environment.systemPackages = [ cfg.package ];

    boot.kernelParams = map (console: "console=${console}") cfg.consoles;

    systemd.units = {
      "paranoid-install.service" = {
        text = unit ./paranoid-install.service;
        # NixOS makes the links of [Install] itself.
        wantedBy = [ "multi-user.target" ];
      };
      "paranoid-shell@.service".text = unit (./. + "/paranoid-shell@.service");
    };

    # A channel for nixos-install to build from, where there is something to build.
    system.installer.channel.enable = cfg.systems == [ ];
    systemd.targets.network-online.wantedBy = lib.mkIf (cfg.systems == [ ]) [ "multi-user.target" ];
  };
}
