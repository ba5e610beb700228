"""A real NixOS without a binary cache: nixpkgs' own derivations, built over Debian's programs."""
