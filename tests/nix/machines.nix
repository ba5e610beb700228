# The machines that the tests of the modules look at, all with the real module system
# and one package set.
{ nixpkgs, impermanence }:
let
  pkgs = import nixpkgs { system = "x86_64-linux"; };
  inherit (pkgs) lib;

  evaluate =
    modules:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = modules ++ [
        {
          nixpkgs.pkgs = pkgs;
          system.stateVersion = lib.mkDefault "26.05";
        }
      ];
    };

  machine =
    module:
    (evaluate [
      ../../nix
      (impermanence + "/nixos.nix")
      module
    ]).config;

  # What a machine needs to be evaluated at all, where no module of ours brings it.
  disk = {
    fileSystems = {
      "/" = {
        fsType = lib.mkDefault "tmpfs";
        options = [
          "mode=755"
          "noexec"
        ];
      };
      "/nix" = {
        device = lib.mkDefault "/dev/vda2";
        fsType = lib.mkDefault "ext4";
        options = [ "noexec" ];
      };
    };
    boot.loader.grub.devices = [ "nodev" ];
  };

  key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAnmHDRVaynFEbzpR8bHBr8A5MCGVhdsTr6HwO3IYXeF test";

  # What EC2 makes where it is asked for RSA.
  shortKey = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCVBL7OyJgKVs/sWcJd9dWmq7qDp7luddUkqtJXqRFhmi17s9Y8kaFZmgmYpDZk/zeaAGApyXH2zk464Hgo2BUV0qSUuj8Rpp3aYo8u3EW+c2RSrjnikoOdQ9lntEi0Mluk9Tn6ahnt6wBTtIZNinOBPK+6YGxHmL+1ULjZVJbO1NLBmNN1KVBYXc+T1O01VBAVJHpOLJmV65KlX6PvWti9NXhO8HXsf8bhB3lVhtVdNYQ0hthCVhNFQ+zr8iita1I+Ljk9risKe0UURz1XnJTMYa06lEEUtZjeMzibaDuC9idStzTrGPrKeQOdMZ/BlCGTKfqkxMNjRMv3/fsjWodX";

  failed = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  # Only ours are forced: a machine that is refused need not be whole otherwise.
  refused =
    config:
    map (a: a.message) (
      lib.filter (a: !a.assertion && lib.hasPrefix "paranoid." a.message) config.assertions
    );

  succeeds = value: (builtins.tryEval (builtins.deepSeq value true)).success;

  judge = config: {
    inherit (config) warnings;
    failed = failed config;
    drvPath = config.system.build.toplevel.drvPath;
  };

  # The file of one subject, without the others.
  alone =
    subject: extra:
    judge
      (evaluate [
        (../../nix/modules + "/${subject}.nix")
        (impermanence + "/nixos.nix")
        disk
        extra
      ]).config;

  subjects = {
    access = {
      paranoid.access.enable = true;
      services.openssh.enable = true;
      users.users.root.openssh.authorizedKeys.keys = [ key ];
    };
    amnesia.paranoid.amnesia.enable = true;
    antivirus.paranoid.antivirus.enable = true;
    audit.paranoid.audit.enable = true;
    boot.paranoid.boot.enable = true;
    breakglass.paranoid.breakglass.enable = true;
    directives.paranoid.directives.enable = true;
    firewall.paranoid.firewall = {
      enable = true;
      egress.enable = true;
    };
    kernel.paranoid.kernel.enable = true;
    logs.paranoid.logs.enable = true;
    nix.paranoid.nix.enable = true;
    noexec.paranoid.noexec.enable = true;
    packages.paranoid.packages.enable = true;
    services.paranoid.services.web = {
      script = "exec web";
      ports.tcp = [ 80 ];
    };
    sshd.paranoid.sshd.enable = true;
    sudo.paranoid.sudo.enable = true;
    users.paranoid.users.enable = true;
    vpn.paranoid.vpn = {
      enable = true;
      tailscale.enable = true;
    };
    watch = {
      paranoid.watch = {
        enable = true;
        package = pkgs.hello;
      };
      security.audit.enable = true;
    };
  };

  host = {
    imports = [ ../../nix/hosts/meeka ];
  };
  profile = {
    imports = [ disk ];
    paranoid.enable = true;
    # As the installer says of a machine that it gives root's keys to.
    paranoid.access.keysOnDisk = lib.mkDefault [ "root" ];
  };
  with' = settings: { imports = [ profile ]; } // settings;
in
{
  alone = lib.mapAttrs alone subjects;

  variants = lib.mapAttrs (_: module: judge (machine module)) {
    profile = profile;
    uefi = with' { paranoid.boot.firmware = "uefi"; };
    wheel = with' {
      paranoid.sudo.mode = "wheel";
      paranoid.nix.administrators = "wheel";
    };
    builds = with' { paranoid.nix.buildOnMachine = true; };
    journalUpload = with' {
      paranoid.logs = {
        shipper = "journal-upload";
        url = "https://logs.example.org:19532";
        keyFile = "/nix/persist/etc/logs/key.pem";
        certificateFile = "/nix/persist/etc/logs/certificate.pem";
        trustedCertificateFile = "/nix/persist/etc/logs/ca.pem";
      };
    };
    lockdown = with' { paranoid.kernel.lockdown = "integrity"; };
    console = with' {
      paranoid.sshd.enable = false;
      paranoid.access.console = true;
    };
    lowPort = with' {
      paranoid.services.dns = {
        script = "exec dns";
        ports.udp = [ 53 ];
        openFirewall = true;
      };
    };
  };

  meeka =
    let
      config = machine host;
      persistence = config.environment.persistence."/nix/persist";
      enabled = lib.filterAttrs (_: wrapper: wrapper.enable) config.security.wrappers;
      values = {
        fileSystems = lib.mapAttrs (_: fs: {
          inherit (fs)
            device
            fsType
            options
            neededForBoot
            ;
        }) config.fileSystems;
        special = lib.mapAttrs (_: fs: fs.options) config.boot.specialFileSystems;
        persisted = map (directory: directory.dirPath) persistence.directories;
        persistedFiles = map (file: file.filePath) persistence.files;
        layout = config.environment.etc."paranoid/layout.json".text;
        listeners = config.environment.etc."paranoid/listeners.json".text;
        ssh = {
          inherit (config.services.openssh) settings extraConfig hostKeys;
        };
        nftables = lib.mapAttrs (_: table: {
          inherit (table) family content;
        }) config.networking.nftables.tables;
        hosts = config.networking.hosts;
        auditRules = config.environment.etc."paranoid/audit.rules".text;
        auditExec = config.systemd.services.audit-rules-nixos.serviceConfig.ExecStart;
        kernelParams = config.boot.kernelParams;
        sysctl = config.boot.kernel.sysctl;
        modprobe = config.boot.extraModprobeConfig;
        nix = config.nix.settings;
        wrappers = lib.attrNames enabled;
        packages = map lib.getName config.environment.systemPackages;
        units = lib.genAttrs [
          "web"
          "janitor"
          "nginx"
          "user-runtime-dir@"
          "sshd"
          "suid-sgid-wrappers"
          "paranoid-antivirus"
        ] (name: config.systemd.units."${name}.service".text);
        scripts = lib.genAttrs [
          "paranoid-audit-check"
          "paranoid-lock-modules"
        ] (name: config.systemd.services.${name}.script);
        hugepages = config.systemd.units."dev-hugepages.mount".text;
        tmpfiles = config.systemd.tmpfiles.settings."10-paranoid-services";
        users = lib.mapAttrs (_: user: user.hashedPasswordFile) {
          inherit (config.users.users) root;
        };
        mutableUsers = config.users.mutableUsers;
        vector = config.services.vector.settings;
        journald = config.services.journald.extraConfig;
        timers = lib.mapAttrs (
          _: timer: timer.timerConfig.OnCalendar or null
        ) config.systemd.timers;
        grub = { inherit (config.boot.loader.grub) enable devices; };
      };
      breakGlass = config.specialisation.break-glass.configuration;
    in
    judge config
    // values
    // {
      breakGlass = {
        failed = failed breakGlass;
        inherit (breakGlass) warnings;
        root = breakGlass.fileSystems."/".options;
        nix = breakGlass.fileSystems."/nix".options;
        auditRules = breakGlass.environment.etc."paranoid/audit.rules".text;
        locksModules = breakGlass.systemd.services ? paranoid-lock-modules;
        motd = breakGlass.users.motd;
        record = breakGlass.systemd.services.paranoid-break-glass.script;
        maxJobs = breakGlass.nix.settings.max-jobs;
        ssh = breakGlass.services.openssh.settings.AuthenticationMethods;
      };
    };

  # On UEFI, and allowed to build: what differs.
  builder =
    let
      config = machine (with' {
        paranoid.boot.firmware = "uefi";
        paranoid.nix.buildOnMachine = true;
        paranoid.sshd.jumpHost = {
          enable = true;
          destinations = [ "10.0.0.7:22" ];
        };
        paranoid.vpn.tailscale = {
          enable = true;
          trustInterface = true;
        };
        paranoid.watch = {
          enable = true;
          package = pkgs.hello;
          allowUnits = [ "runner.service" ];
          webhook = "https://alerts.example.org/a%20b";
          webhookTokenFile = "/nix/persist/etc/watch/token";
        };
      });
    in
    {
      boot = config.fileSystems."/boot".options;
      builds = config.fileSystems."/nix/var/nix/builds".options;
      nix = config.nix.settings;
      loader = {
        inherit (config.boot.loader.systemd-boot) enable editor configurationLimit;
        inherit (config.boot.loader.efi) canTouchEfiVariables efiSysMountPoint;
        grub = config.boot.loader.grub.enable;
      };
      ssh = config.services.openssh.settings;
      trusted = config.networking.firewall.trustedInterfaces;
      open = config.networking.firewall.allowedTCPPorts;
      watch = config.systemd.units."paranoid-watch.service".text;
    };

  refusals = lib.mapAttrs (_: module: refused (machine module)) {
    noSshAtAll = with' { paranoid.sshd.enable = false; };
    vpnOnlyWithoutVpn = with' { paranoid.vpn.sshOnly = true; };
    wireguardWithoutPeers = with' {
      paranoid.vpn.sshOnly = true;
      paranoid.vpn.wireguard.enable = true;
    };
    nobodyHoldsAKey = {
      imports = [ disk ];
      paranoid.access.enable = true;
      services.openssh.enable = true;
    };
    rootMayNotLogIn = {
      imports = [ disk ];
      paranoid.access.enable = true;
      services.openssh.enable = true;
      services.openssh.settings.PermitRootLogin = "no";
      users.users.root.openssh.authorizedKeys.keys = [ key ];
    };
    profileWithoutKeys = with' { paranoid.access.keysOnDisk = [ ]; };
    keysOnDiskOfNobody = with' { services.openssh.settings.PermitRootLogin = lib.mkForce "no"; };
    onLoopback = with' {
      services.openssh.listenAddresses = [
        {
          addr = "127.0.0.1";
          port = 22;
        }
      ];
    };
    shortKey = with' {
      paranoid.access.keysOnDisk = [ ];
      users.users.root.openssh.authorizedKeys.keys = [ shortKey ];
    };
    noShell = with' {
      paranoid.access.keysOnDisk = [ ];
      users.users.backup = {
        isSystemUser = true;
        group = "backup";
        openssh.authorizedKeys.keys = [ key ];
      };
      users.groups.backup = { };
    };
    # The same with the exception said.
    shortKeyAdmitted = with' {
      paranoid.access.keysOnDisk = [ ];
      paranoid.sshd.olderKeys = [ "rsa-2048" ];
      users.users.root.openssh.authorizedKeys.keys = [ shortKey ];
    };
    anotherUser = with' {
      paranoid.access.keysOnDisk = [ ];
      services.openssh.settings.PermitRootLogin = lib.mkForce "no";
      users.users.admin = {
        isNormalUser = true;
        openssh.authorizedKeys.keys = [ key ];
      };
    };
    rootIsNotTmpfs = with' { fileSystems."/".fsType = lib.mkForce "ext4"; };
    swapInTheClear = with' { swapDevices = [ { device = "/dev/vda3"; } ]; };
    noNixFileSystem = {
      paranoid.noexec.enable = true;
      fileSystems."/" = {
        device = "none";
        fsType = "tmpfs";
      };
    };
    executableDisk = with' {
      fileSystems."/data" = {
        device = "/dev/vdb";
        fsType = "ext4";
      };
    };
    tmpOnTmpfs = with' { boot.tmp.useTmpfs = true; };
    initialPassword = with' { users.users.root.initialPassword = "hunter2"; };
    emptyPassword = with' { users.users.root.initialHashedPassword = ""; };
    misspeltSetting = with' {
      paranoid.services.web = {
        script = "exec web";
        settings.ProtectKernelTuneables = true;
      };
    };
    misspeltUnit = with' {
      systemd.services.web.serviceConfig = {
        ExecStart = "/bin/web";
        ProtectKernelTuneables = true;
      };
    };
    hardenNobody = with' { paranoid.harden = [ "ngnix" ]; };
    scriptAndPackage = with' {
      paranoid.services.web = {
        script = "exec web";
        package = pkgs.hello;
      };
    };
    portsWithoutNetwork = with' {
      paranoid.services.web = {
        script = "exec web";
        network = false;
        ports.tcp = [ 80 ];
      };
    };
    logsInTheClear = with' {
      paranoid.logs = {
        shipper = "vector";
        url = "http://logs.example.org";
      };
    };
    userNamespaces = with' {
      paranoid.kernel.maxUserNamespaces = 0;
      systemd.services.web.serviceConfig.PrivateUsers = true;
    };
    diskOnUefi = with' {
      paranoid.boot.firmware = "uefi";
      paranoid.boot.device = "/dev/vda";
    };
    grubPasswordOnUefi = with' {
      paranoid.boot.firmware = "uefi";
      paranoid.boot.passwordFile = "/nix/persist/etc/grub.pbkdf2";
    };
    watchWithoutAudit = with' {
      paranoid.watch.enable = true;
      paranoid.watch.package = pkgs.hello;
      paranoid.audit.enable = false;
    };
    watchWithoutProgram = with' { paranoid.watch.enable = true; };
    tokenWithoutWebhook = with' {
      paranoid.watch = {
        enable = true;
        package = pkgs.hello;
        webhookTokenFile = "/nix/persist/etc/watch/token";
      };
    };
    # The same with the exception said.
    executableDiskNamed = with' {
      fileSystems."/data" = {
        device = "/dev/vdb";
        fsType = "ext4";
      };
      paranoid.noexec.exceptions = [ "/data" ];
    };
    encryptedSwap = with' {
      swapDevices = [
        {
          device = "/dev/vda3";
          randomEncryption.enable = true;
        }
      ];
    };
    newDirective = with' {
      systemd.services.web.serviceConfig = {
        ExecStart = "/bin/web";
        ProtectEverything = true;
      };
      paranoid.directives.known = [ "ProtectEverything" ];
    };
  };

  # The persist root on a partition of its own, as the user declares it.
  ownPersist =
    (machine (
      host
      // {
        fileSystems."/nix/persist" = {
          device = "/dev/disk/by-label/persist";
          fsType = "ext4";
        };
      }
    )).fileSystems."/nix/persist".options;

  withoutImpermanence =
    refused
      (evaluate [
        ../../nix
        profile
      ]).config;

  # A value that the option's type doesn't take.
  rejects = lib.mapAttrs (_: module: !succeeds (machine module).paranoid) {
    secretInStore = with' { paranoid.logs.keyFile = "${pkgs.hello}/key"; };
    secretAsPath = with' { paranoid.vpn.tailscale.authKeyFile = ./conftest.py; };
    size = with' { paranoid.amnesia.size = "2Q"; };
    firmware = with' { paranoid.boot.firmware = "efi"; };
    device = with' { paranoid.boot.device = "vda"; };
    rate = with' { paranoid.firewall.log.rate = "often"; };
    port = with' { paranoid.vpn.tailscale.allowedTCPPorts = [ 65536 ]; };
    destination = with' { paranoid.sshd.jumpHost.destinations = [ "10.0.0.7" ]; };
    # And one that it does, or the rest says nothing.
    nothing = with' { paranoid.amnesia.size = "50%"; };
  };

  # Each option of ours, with what its documentation needs.
  options =
    let
      visible = lib.filter (option: option.visible && !option.internal) (
        lib.optionAttrSetToDocList (evaluate [ ../../nix ]).options.paranoid
      );
    in
    map (option: {
      inherit (option) name;
      description = option.description or null;
      hasDefault = option ? default;
      hasExample = option ? example;
    }) visible;
}
