# Kernel modules of minios' initrd: the disks it is tested on, the file systems of both
# firmwares, and the two channels to the test harness. Built-in ones are skipped.
[
  "virtio_pci"
  "virtio_blk"
  "virtio_scsi"
  "sd_mod"
  "nvme"
  "ata_piix"
  "ext4"
  "vfat"
  "nls_cp437"
  "nls_ascii"
  "virtio_console"
  "qemu_fw_cfg"
]
