# Subject: services of one's own, one user each, and the hardening of others'.
{
  config,
  lib,
  options,
  utils,
  ...
}:
let
  policy = import ../lib/policy.nix;
  inherit (import ../types.nix { inherit lib; }) runtimePath;
  units = import ../lib/units.nix { inherit policy; };

  services = lib.filterAttrs (_: service: service.enable) config.paranoid.services;
  harden = config.paranoid.harden;
  each = f: lib.mkMerge (lib.mapAttrsToList f services);

  privileged = service: lib.any (port: port < 1024) (service.ports.tcp ++ service.ports.udp);
  userNamespaces = !config.paranoid.kernel.enable || config.paranoid.kernel.maxUserNamespaces > 0;

  # Only the declared ports can be listened on, and without any none can.
  ports = service: {
    SocketBindDeny = "any";
    SocketBindAllow =
      map (port: "tcp:${toString port}") service.ports.tcp
      ++ map (port: "udp:${toString port}") service.ports.udp;
  };

  # A capability of a user namespace of one's own opens no port of the machine.
  lowPorts = {
    AmbientCapabilities = "CAP_NET_BIND_SERVICE";
    CapabilityBoundingSet = "CAP_NET_BIND_SERVICE";
    PrivateUsers = false;
  };

  offline = {
    PrivateNetwork = true;
    RestrictAddressFamilies = [ "AF_UNIX" ];
    IPAddressDeny = "any";
  };

  section =
    name: service:
    units.service name
    // (if service.network then ports service else offline)
    // lib.optionalAttrs (privileged service) lowPorts
    // lib.optionalAttrs (!userNamespaces) { PrivateUsers = false; }
    // lib.optionalAttrs (service.credentials != { }) {
      LoadCredential = lib.mapAttrsToList (
        credential: file: "${credential}:${file}"
      ) service.credentials;
    }
    // lib.optionalAttrs (service.package != null) {
      ExecStart = utils.escapeSystemdExecArgs (
        [ (lib.getExe service.package) ] ++ service.arguments
      );
    }
    // {
      Restart = "on-failure";
    }
    // service.settings;

  # Lists add up with what the unit has; of anything else the unit's own word counts.
  gently = value: if lib.isList value then value else lib.mkOverride 900 value;

  # Somebody other than this module has to have said something about the unit.
  isDefined =
    unit:
    lib.any (
      definition: definition.file != __curPos.file && definition.value ? ${unit}
    ) options.systemd.services.definitionsWithLocations;
  undefined = lib.filter (unit: !isDefined unit) harden;

  misspelt = lib.concatLists (
    lib.mapAttrsToList (
      name: service:
      map (key: "paranoid.services.${name}.settings.${key}") (units.unknown service.settings)
    ) services
  );

  service = lib.types.submodule (
    { name, ... }:
    {
      options = {
        enable = lib.mkOption {
          type = lib.types.bool;
          default = true;
          example = false;
          description = "Whether the service is there at all; its files in /srv stay in any case.";
        };
        description = lib.mkOption {
          type = lib.types.singleLineStr;
          default = name;
          example = "Webhook receiver";
          description = "What the journal and `systemctl` call it.";
        };
        script = lib.mkOption {
          type = lib.types.nullOr lib.types.lines;
          default = null;
          example = "exec \${pkgs.darkhttpd}/bin/darkhttpd /srv/web --port 8080";
          description = ''
            Shell script to run. It goes into the store, where it may execute, and where
            everybody reads it: secrets belong into `credentials`.
          '';
        };
        package = lib.mkOption {
          type = lib.types.nullOr lib.types.package;
          default = null;
          example = lib.literalExpression "pkgs.miniserve";
          description = "Package whose main program to run, in place of `script`.";
        };
        arguments = lib.mkOption {
          type = lib.types.listOf lib.types.str;
          default = [ ];
          example = [
            "--port"
            "8080"
          ];
          description = "Arguments of the package's program; everybody sees them.";
        };
        environment = lib.mkOption {
          type = lib.types.attrsOf lib.types.str;
          default = { };
          example = {
            RUST_LOG = "info";
          };
          description = "Environment variables; no secrets, since the unit is in the store.";
        };
        credentials = lib.mkOption {
          type = lib.types.attrsOf runtimePath;
          default = { };
          example = {
            token = "/nix/persist/etc/secrets/web-token";
          };
          description = ''
            Secrets by name, each a file that root reads for the service; it finds them in
            the directory $CREDENTIALS_DIRECTORY. The service itself can't see
            ${policy.layout.persist.root}.
          '';
        };
        network = lib.mkOption {
          type = lib.types.bool;
          default = true;
          example = false;
          description = ''
            Whether the service sees the network. Without, it has a loopback of its own, and
            an exposure well below any other.
          '';
        };
        ports = {
          tcp = lib.mkOption {
            type = lib.types.listOf lib.types.port;
            default = [ ];
            example = [ 8080 ];
            description = "TCP ports it listens on. It can listen on no others.";
          };
          udp = lib.mkOption {
            type = lib.types.listOf lib.types.port;
            default = [ ];
            example = [ 5353 ];
            description = "UDP ports it listens on. It can listen on no others.";
          };
        };
        openFirewall = lib.mkOption {
          type = lib.types.bool;
          default = false;
          example = true;
          description = "Whether its ports are open to everybody; otherwise to this machine alone.";
        };
        interfaces = lib.mkOption {
          type = lib.types.listOf lib.types.str;
          default = [ ];
          example = [ "tailscale0" ];
          description = "Network interfaces on which its ports are open, of a private network say.";
        };
        settings = lib.mkOption {
          type = lib.types.attrsOf lib.types.unspecified;
          default = { };
          example = {
            MemoryMax = "512M";
            MemoryDenyWriteExecute = false;
          };
          description = ''
            Directives of systemd.exec(5) and its kin that differ from the hardening set, or
            come on top. `MemoryDenyWriteExecute = false` is what a just-in-time compiler
            needs, `ProcSubset = "all"` what reads /proc/sys.
          '';
        };
      };
    }
  );
in
{
  imports = [ ./kernel.nix ];

  options.paranoid = {
    services = lib.mkOption {
      type = lib.types.attrsOf service;
      default = { };
      example = lib.literalExpression ''
        {
          web = {
            package = pkgs.miniserve;
            arguments = [ "--port" "8080" "/srv/web" ];
            ports.tcp = [ 8080 ];
            interfaces = [ "tailscale0" ];
          };
        }
      '';
      description = ''
        Services, each run by a user of its own who owns /srv/NAME and can write nowhere
        else, with the whole hardening set: one that is taken over holds nothing but
        itself. `systemd-analyze security` gives at most
        ${toString policy.units.exposureLimit}.
      '';
    };

    harden = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "nginx" ];
      description = ''
        Units of other modules that get a milder set: it leaves them their user, their
        capabilities and their devices, and a directive that the unit sets itself stays
        as it is. Look at the unit with `systemd-analyze security` before and after.
      '';
    };
  };

  config = {
    assertions = [
      {
        assertion = misspelt == [ ];
        message = ''
          paranoid.services: systemd knows no such directive, and would ignore it:
          ${lib.concatStringsSep "\n" misspelt}
        '';
      }
      {
        assertion = undefined == [ ];
        message = ''
          paranoid.harden: nothing defines the unit ${lib.concatStringsSep ", " undefined}, so
          nothing is hardened. Mend the name (without .service), or remove it.
        '';
      }
    ]
    ++ lib.mapAttrsToList (name: service: {
      assertion = (service.script != null) != (service.package != null);
      message = "paranoid.services.${name}: give either script or package, and not both.";
    }) services
    ++ lib.mapAttrsToList (name: service: {
      assertion = !service.network -> service.ports.tcp == [ ] && service.ports.udp == [ ];
      message = ''
        paranoid.services.${name}: it has ports but no network. Remove the ports, or leave
        network on.
      '';
    }) services;

    users = each (
      name: _: {
        users.${name} = {
          isSystemUser = true;
          group = name;
          home = units.stateDirectory name;
        };
        groups.${name} = { };
      }
    );

    systemd.tmpfiles.settings."10-paranoid-services" = each (
      name: _: {
        ${units.stateDirectory name}.d = {
          mode = "0750";
          user = name;
          group = name;
        };
      }
    );

    networking.firewall = each (
      _: service: {
        allowedTCPPorts = lib.mkIf service.openFirewall service.ports.tcp;
        allowedUDPPorts = lib.mkIf service.openFirewall service.ports.udp;
        interfaces = lib.genAttrs service.interfaces (_: {
          allowedTCPPorts = service.ports.tcp;
          allowedUDPPorts = service.ports.udp;
        });
      }
    );

    systemd.services = lib.mkMerge [
      (lib.mapAttrs (name: service: {
        inherit (service) description environment;
        wantedBy = [ "multi-user.target" ];
        after = lib.optional service.network "network.target";
        script = lib.mkIf (service.script != null) service.script;
        serviceConfig = section name service;
      }) services)
      (lib.genAttrs harden (_: {
        serviceConfig = lib.mapAttrs (_: gently) units.sets.existing;
      }))
    ];
  };
}
