# hardware-configuration.nix imports this on a machine that is no guest; minios has no firmware to add.
{ }
