# Kernel modules of the live initrd: the images on virtio disks, squashfs and overlay, the
# disks to install on, and the two channels to the test harness. Built-in ones are skipped;
# whatever else the live system needs, udev and mount load from its own /lib/modules.
[
  "virtio_pci"
  "virtio_blk"
  "virtio_scsi"
  "sd_mod"
  "nvme"
  "ata_piix"
  "squashfs"
  "overlay"
  "loop"
  "vfat"
  "nls_cp437"
  "nls_ascii"
  "virtio_console"
  "qemu_fw_cfg"
]
