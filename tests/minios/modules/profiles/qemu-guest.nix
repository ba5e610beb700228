# hardware-configuration.nix imports this on a QEMU guest; minios' initrd has the virtio modules anyway.
{ }
