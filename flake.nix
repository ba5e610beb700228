{
  description = "Turns a blank disk into an amnesiac, locked-down NixOS machine";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # Not as a flake: its own inputs (nixpkgs, home-manager) serve its tests alone.
    impermanence = {
      url = "github:nix-community/impermanence";
      flake = false;
    };
  };

  outputs =
    {
      nixpkgs,
      impermanence,
      ...
    }:
    import ./nix/outputs.nix {
      inherit nixpkgs impermanence;
      inherit (nixpkgs.lib) nixosSystem;
    };
}
