#!/bin/bash
# What a NixOS live image has ready and this Debian has not: Nix's database and channel, the
# programs of NixOS, and the installer as a command.
set -e

# Nix as a live image has it: a database that knows the image's paths, and a channel.
mkdir -p /etc/nix /nix/var/nix/profiles/per-user/root/channels
printf '%s\n' 'build-users-group =' 'substituters =' > /etc/nix/nix.conf
nix-store --load-db < /nix/store/nix-path-registration
ln -s /nix/store/*-minios-channel /nix/var/nix/profiles/per-user/root/channels/nixpkgs

# Debian has no nixos-install: ours stands in for it.
for program in nixos-install nixos-generate-config nixos-enter; do
  ln -s "/project/tests/standin/$program" "/usr/local/bin/$program"
done
cat > /usr/local/bin/paranoid-install << 'END'
#!/bin/sh
export PYTHONPATH=/project/installer PYTHONDONTWRITEBYTECODE=1
exec python3 -m paranoid_install "$@"
END
chmod 755 /usr/local/bin/paranoid-install
