# The part of a toplevel that makes Debian's own userland the system: /etc as NixOS's modules
# would write it, from the same policy and by the same functions (nix/lib).
#   userland  a store path with usr/ and etc/ (tests/vm/vmlab/userland.py)
#   known     names of the algorithms that its OpenSSH has
{
  policy,
  paranoid,
  known,
  # Whether this is the system of the break-glass entry.
  breakGlass,
}:
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    isList
    listToAttrs
    map
    ;
  inherit (policy) breakglass firewall mounts;

  audit = import (paranoid + "/lib/audit.nix") { inherit policy; };
  packetFilter = import (paranoid + "/lib/firewall.nix") { inherit policy; };
  sshd = import (paranoid + "/lib/sshd.nix") {
    inherit policy;
    # The policy names algorithms that are younger than Debian's OpenSSH.
    without =
      filter (name: !elem name known) (
        concatLists (filter isList (builtins.attrValues policy.sshd.settings))
      )
      # Of OpenSSH 9.8, as is the first key exchange with ML-KEM, of 9.9.
      ++ (if elem "mlkem768x25519-sha256" known then [ ] else [ "PerSourcePenalties" ]);
  };

  inherit (import (paranoid + "/lib/breakglass.nix") { inherit policy; }) script;

  show =
    value:
    if value == true then
      "yes"
    else if value == false then
      "no"
    else
      toString value;
  assignments =
    separator: set:
    concatStringsSep "" (map (key: "${key}${separator}${show set.${key}}\n") (attrNames set));

  # As NixOS's sshd-keygen does, for a system that was installed without.
  makeHostKeys = concatStringsSep "\n" (
    map (
      key:
      "ExecStartPre=/bin/sh -c '[ -s ${key.path} ] || ssh-keygen -q -t ${key.type}"
      + (if key ? bits then " -b ${toString key.bits}" else "")
      + " -N \"\" -C \"\" -f ${key.path}'"
    ) policy.layout.hostKeys
  );

  # What starts, besides what systemd itself cannot do without.
  wanted = [
    "auditd.service"
    "audit-rules-nixos.service"
    "nftables.service"
    (if breakGlass then "paranoid-break-glass.service" else "paranoid-lock-modules.service")
    "minios-boot.service"
    "sshd.service"
    "systemd-networkd.service"
  ];
  # Debian's units that NixOS has not.
  masked = [
    "getty-static.service"
    "proc-sys-fs-binfmt_misc.automount"
    "sys-fs-fuse-connections.mount"
    "sys-kernel-debug.mount"
    # It would make a machine-id last that a mount already makes last, and fails.
    "systemd-machine-id-commit.service"
    "systemd-networkd.socket"
    "systemd-repart.service"
    # The test network has no time to offer.
    "systemd-timedated.service"
    "tmp.mount"
  ];

  # What break-glass takes away.
  closed = {
    "systemd/system/dev-hugepages.mount.d/paranoid.conf" = ''
      [Mount]
      Options=${concatStringsSep "," mounts.hugepages.options}
    '';

    "systemd/system/${mounts.userRuntime.unit}.service.d/paranoid.conf" = ''
      [Service]
      ExecStartPost=/usr/bin/mount -o remount,bind,${concatStringsSep "," mounts.userRuntime.options} ${mounts.userRuntime.path}/%i
    '';

    "systemd/system/paranoid-lock-modules.service" = ''
      [Unit]
      Description=Load No More Kernel Modules
      After=multi-user.target nftables.service systemd-modules-load.service
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/bin/udevadm settle
      ExecStart=/bin/sh -c 'echo 1 > /proc/sys/kernel/modules_disabled'
    '';
  };

  # What it has instead.
  open = {
    "issue" = "<<< ${breakglass.notice} \\l >>>\n";
    "motd" = "${breakglass.notice}\n";
    "paranoid/break-glass" = script;
    "systemd/system/paranoid-break-glass.service" = ''
      [Unit]
      Description=Put the Use of Break-Glass on Record
      Before=getty.target sshd.service
      After=systemd-journald.service
      RequiresMountsFor=${dirOf breakglass.record}
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      StandardError=journal+console
      ExecStart=/bin/sh -e /etc/paranoid/break-glass
    '';
  };
in
{
  kernelParams =
    map (p: if p ? value then "${p.name}=${p.value}" else p.name) policy.kernel.parameter
    ++ [
      "audit=1"
      "audit_backlog_limit=${toString policy.audit.backlogLimit}"
      "systemd.ssh_auto=no"
      "systemd.gpt_auto=no"
      "systemd.show_status=no"
    ];

  etc = {
    "default/locale" = "";
    "ssh/sshd_config" = sshd.text;
    "paranoid/audit.rules" = audit.text { };
    "audit/auditd.conf" = "local_events = yes\n" + assignments " = " policy.audit.daemon;
    "sysctl.d/60-paranoid.conf" =
      concatStringsSep "" (map (s: "${s.key} = ${toString s.value}\n") policy.sysctl.setting)
      + "user.max_user_namespaces = ${toString policy.kernel.maxUserNamespaces}\n";
    # Debian's, which would come after.
    "sysctl.d/99-protect-links.conf" = "";
    "modprobe.d/paranoid.conf" = concatStringsSep "" (
      map (name: "install ${name} /usr/bin/false\n") (concatMap (m: m.names) policy.kernel.module)
    );
    "systemd/journald.conf.d/60-paranoid.conf" =
      "[Journal]\n" + assignments "=" policy.logs.journal;
    "systemd/system.conf.d/60-paranoid.conf" = ''
      [Manager]
      DefaultLimitCORE=${toString policy.kernel.coredump.limit}
    '';

    # The table that networking.firewall writes for a machine with one open port.
    "nftables.conf" = ''
      flush ruleset
      table inet nixos-fw {
        chain input {
          type filter hook input priority filter; policy drop;
          iifname "lo" accept
          ct state vmap { invalid : drop, established : accept, related : accept, new : jump input-allow, untracked : jump input-allow }
          ${packetFilter.logRefused { }}
        }
        chain input-allow {
          tcp dport ${toString policy.sshd.port} accept
          icmp type echo-request accept
        }
      }
      table inet ${firewall.egress.table} {
      ${packetFilter.egress firewall.egress.networks}}
    '';

    # QEMU's user network, without a DHCP client's socket.
    "systemd/network/10-qemu.network" = ''
      [Match]
      Name=eth0
      [Network]
      Address=10.0.2.15/24
      Gateway=10.0.2.2
      LinkLocalAddressing=no
      IPv6AcceptRA=no
    '';

    "systemd/system/multi-user.target.d/minios.conf" = ''
      [Unit]
      Wants=${concatStringsSep " " wanted}
    '';

    "systemd/system/sshd.service" = ''
      [Unit]
      Description=SSH Daemon
      After=network.target nftables.service
      [Service]
      ${makeHostKeys}
      ExecStart=/usr/sbin/sshd -D -f /etc/ssh/sshd_config
      Type=notify
      RuntimeDirectory=sshd
      KillMode=process
      Restart=always
    '';

    "systemd/system/nftables.service" = ''
      [Unit]
      Description=nftables firewall
      DefaultDependencies=no
      After=systemd-modules-load.service
      Before=network-pre.target
      Wants=network-pre.target
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/sbin/nft -f /etc/nftables.conf
    '';

    "systemd/system/auditd.service" = ''
      [Unit]
      Description=Security Audit Logging Service
      DefaultDependencies=no
      After=local-fs.target systemd-tmpfiles-setup.service
      Before=sysinit.target shutdown.target
      Conflicts=shutdown.target
      [Service]
      ExecStart=/usr/sbin/auditd -n
      LogsDirectory=audit
      LogsDirectoryMode=0700
      RuntimeDirectory=audit
    '';

    "systemd/system/audit-rules-nixos.service" = ''
      [Unit]
      Description=Load Audit Rules
      DefaultDependencies=no
      After=auditd.service
      Before=sysinit.target shutdown.target
      Conflicts=shutdown.target
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=-/usr/sbin/auditctl -R /etc/paranoid/audit.rules
    '';

    "systemd/system/minios-boot.service" = ''
      [Unit]
      Description=Report to the Test Harness
      After=multi-user.target sshd.service paranoid-lock-modules.service
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      TimeoutStartSec=infinity
      StandardOutput=journal+console
      StandardError=journal+console
      ExecStart=/bin/sh /run/current-system/boot
    '';
  }
  // (if breakGlass then open else closed)
  // listToAttrs (
    map (unit: {
      name = "systemd/system/${unit}";
      value = "";
    }) masked
  );

  scripts = {
    init = ./debian/init.sh;
    activate = ./debian/activate.sh;
    boot = ./debian/boot.sh;
  };
}
