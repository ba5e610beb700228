# A sealed disk image, raw and qcow2, made by the auto-install image on a blank disk:
#   packer build -var iso=FILE.iso scripts/packer/qemu.pkr.hcl
# What is installed, and who may log in, the auto-install image says: docs/images.md.

variable "iso" {
  type        = string
  description = "The auto-install image: a file, or an address with its iso_checksum."
  validation {
    condition     = length(var.iso) > 0
    error_message = "The iso must name an auto-install image."
  }
}

variable "iso_checksum" {
  type        = string
  description = "Checksum of the auto-install image, as sha256:…; none is for a file of this machine."
  default     = "none"
  validation {
    condition     = var.iso_checksum == "none" || regex_replace(var.iso_checksum, "^sha(256|512):[0-9a-f]+$", "") == ""
    error_message = "The iso_checksum must be sha256:…, sha512:… or none."
  }
}

variable "name" {
  type        = string
  description = "Name of the files that are made, without their endings."
  default     = "paranoid"
  validation {
    condition     = length(var.name) > 0 && regex_replace(var.name, "^[A-Za-z0-9][A-Za-z0-9._-]*$", "") == ""
    error_message = "The name must be one of a file: letters, digits, dots, dashes."
  }
}

variable "output" {
  type        = string
  description = "Directory to make for the images; it must not be there yet."
  default     = "paranoid-image"
  validation {
    condition     = length(var.output) > 0
    error_message = "The output must name a directory."
  }
}

variable "disk_size" {
  type        = string
  description = "Size of the disk, in MiB with M or GiB with G."
  default     = "8192M"
  validation {
    condition     = length(var.disk_size) > 0 && regex_replace(var.disk_size, "^[1-9][0-9]*[MG]$", "") == ""
    error_message = "The disk_size must be a number with M or G."
  }
}

variable "memory" {
  type        = number
  description = "Memory of the virtual machine in MiB; the volatile root of the installation lies in it."
  default     = 3072
  validation {
    condition     = var.memory >= 1024
    error_message = "The memory must be 1024 MiB or more."
  }
}

variable "cpus" {
  type        = number
  description = "Processors of the virtual machine."
  default     = 2
  validation {
    condition     = var.cpus >= 1
    error_message = "The cpus must be 1 or more."
  }
}

variable "accelerator" {
  type        = string
  description = "What runs the virtual machine: kvm, hvf (macOS), or tcg, which emulates and is many times slower."
  default     = "kvm"
  validation {
    condition     = contains(["kvm", "hvf", "tcg"], var.accelerator)
    error_message = "The accelerator must be kvm, hvf or tcg."
  }
}

variable "uefi" {
  type        = string
  description = "UEFI firmware of QEMU (OVMF.fd), for an image that boots by UEFI, as EC2 wants it; empty: BIOS."
  default     = ""
}

variable "timeout" {
  type        = string
  description = "Time within which the guest must have installed and powered off."
  default     = "60m"
  validation {
    condition     = length(var.timeout) > 0 && regex_replace(var.timeout, "^[1-9][0-9]*[smh]$", "") == ""
    error_message = "The timeout must be a number with s, m or h."
  }
}

locals {
  # Beside the directory, which packer deletes when the guest does not end in time.
  console  = "${var.output}.console.log"
  firmware = var.uefi == "" ? [] : [["-bios", var.uefi]]
}

source "qemu" "paranoid" {
  accelerator      = var.accelerator
  boot_wait        = "-1s"
  communicator     = "none"
  cpus             = var.cpus
  disable_vnc      = true
  disk_cache       = "unsafe"
  disk_discard     = "unmap"
  disk_interface   = "virtio"
  disk_size        = var.disk_size
  format           = "raw"
  headless         = true
  iso_checksum     = var.iso_checksum
  iso_url          = var.iso
  memory           = var.memory
  output_directory = var.output
  # It gets its name when it has been looked at.
  vm_name          = "unchecked"
  shutdown_timeout = var.timeout
  qemuargs = concat(
    [
      ["-cpu", "max"],
      ["-device", "virtio-rng-pci"],
      ["-no-reboot", ""],
      ["-serial", "file:${local.console}"],
    ],
    local.firmware,
  )
}

build {
  sources = ["source.qemu.paranoid"]

  # Packer knows that the guest has powered off, and nothing of how it went.
  post-processor "shell-local" {
    keep_input_artifact = true
    execute_command     = ["/bin/sh", "-c", "{{ .Vars }} {{ .Script }}"]
    environment_vars = [
      "CONSOLE=${local.console}",
      "IMAGE=${var.output}/unchecked",
      "NAME=${var.output}/${var.name}",
    ]
    inline = ["exec python3 '${path.root}/check_image.py' \"$IMAGE\" \"$NAME\" \"$CONSOLE\""]
  }
}
