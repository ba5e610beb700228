# The article's host, with everything that these modules offer: an example to start
# from. Keys and addresses are made up.
{ pkgs, ... }:
{
  imports = [ ./hardware-configuration.nix ];

  networking.hostName = "meeka";
  time.timeZone = "UTC";
  system.stateVersion = "26.05";

  paranoid = {
    enable = true;
    amnesia.size = "2G";

    boot = {
      firmware = "bios";
      device = "/dev/vda";
    };

    # ssh is reached over the tailnet, and over WireGuard when that is down.
    vpn = {
      sshOnly = true;
      tailscale = {
        authKeyFile = "/nix/persist/etc/tailscale/auth.key";
        extraUpFlags = [ "--advertise-tags=tag:server" ];
      };
      wireguard = {
        addresses = [ "10.100.0.1/24" ];
        peers = [
          {
            publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
            allowedIPs = [ "10.100.0.2/32" ];
          }
        ];
      };
    };

    # Deployed by push, so nothing on it fetches programs.
    firewall.egress.enable = true;

    logs = {
      shipper = "vector";
      url = "https://logs.example.org/ingest";
      keyFile = "/nix/persist/etc/logs/key.pem";
      certificateFile = "/nix/persist/etc/logs/certificate.pem";
      trustedCertificateFile = "/nix/persist/etc/logs/ca.pem";
    };

    watch = {
      webhook = "https://alerts.example.org/meeka";
      webhookTokenFile = "/nix/persist/etc/watch/token";
    };

    services = {
      web = {
        description = "Static site";
        package = pkgs.miniserve;
        arguments = [
          "--interfaces=127.0.0.1"
          "--port=8080"
          "/srv/web"
        ];
        ports.tcp = [ 8080 ];
      };
      janitor = {
        description = "Removes what the site no longer serves";
        script = ''
          while true; do
            find /srv/janitor -type f -mtime +30 -delete
            sleep 1h
          done
        '';
        network = false;
      };
    };

    # In front of it, over the tailnet.
    harden = [ "nginx" ];
  };

  services.nginx = {
    enable = true;
    virtualHosts."meeka" = {
      locations."/".proxyPass = "http://127.0.0.1:8080";
    };
  };
  paranoid.vpn.tailscale.allowedTCPPorts = [ 80 ];

  users.users.root.openssh.authorizedKeys.keys = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAnmHDRVaynFEbzpR8bHBr8A5MCGVhdsTr6HwO3IYXeF example"
  ];
}
