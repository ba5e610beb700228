# An AMI without an image in between: a stock NixOS instance installs onto a blank volume, which
# becomes the root volume of the AMI. register.pkr.hcl beside this says the rest:
#   packer build -var-file=FILE scripts/packer/amazon
# Credentials are not among the variables: packer takes them from where the AWS tools do.

variable "region" {
  type        = string
  description = "AWS region to build in."
  validation {
    condition     = length(var.region) > 0 && regex_replace(var.region, "^[a-z]+(-[a-z]+)+-[0-9]+$", "") == ""
    error_message = "The region must be one of AWS, as eu-central-1."
  }
}

variable "flake" {
  type        = string
  description = "Reference of the flake with the installer, as the instance reaches it."
  validation {
    condition     = length(var.flake) > 0 && regex_replace(var.flake, "^[A-Za-z0-9:/._?=&+-]+$", "") == ""
    error_message = "The flake must be a flake reference without an output (no #)."
  }
}

variable "system" {
  type        = string
  description = "Output of the flake that is the system to install; it needs the EC2 profile and UEFI."
  default     = "ami.passthru.system"
  validation {
    condition     = length(var.system) > 0 && regex_replace(var.system, "^[A-Za-z0-9._-]+$", "") == ""
    error_message = "The system must be an attribute path: letters, digits, dots, dashes."
  }
}

variable "ssh_keys" {
  type        = list(string)
  description = "Public keys that let root in, as in authorized_keys. Without them it would be packer's own."
  validation {
    condition     = length(var.ssh_keys) > 0
    error_message = "The ssh_keys must hold at least one public key."
  }
}

variable "name" {
  type        = string
  description = "Name of the AMI, unique in the account and region; the time of the build is added."
  default     = "paranoid"
  validation {
    condition     = length(var.name) > 2 && regex_replace(var.name, "^[A-Za-z0-9()./_-]+$", "") == ""
    error_message = "The name must have 3 or more letters, digits, or any of ( ) . / _ and -."
  }
}

variable "instance_type" {
  type        = string
  description = "Instance to build on: of the Nitro system (EBS volumes are NVMe), with memory for a Nix evaluation."
  default     = "t3.large"
}

variable "nixos_release" {
  type        = string
  description = "Release of the stock NixOS AMI to build on."
  default     = "26.05"
  validation {
    condition     = length(var.nixos_release) > 0 && regex_replace(var.nixos_release, "^[0-9]{2}\\.(05|11)$", "") == ""
    error_message = "The nixos_release must be one of NixOS, as 26.05."
  }
}

variable "disk" {
  type        = string
  description = "The blank volume, as the instance names it."
  default     = "/dev/nvme1n1"
  validation {
    condition     = length(var.disk) > 0 && regex_replace(var.disk, "^/dev/[A-Za-z0-9/_-]+$", "") == ""
    error_message = "The disk must be a device below /dev."
  }
}

variable "volume_size" {
  type        = number
  description = "Size of the volume in GiB; an instance may have a larger one."
  default     = 8
  validation {
    condition     = var.volume_size >= 4
    error_message = "The volume_size must be 4 GiB or more."
  }
}

locals {
  built = formatdate("YYYYMMDD-hhmmss", timestamp())
}

source "amazon-ebssurrogate" "paranoid" {
  region                  = var.region
  instance_type           = var.instance_type
  ami_name                = "${var.name}-${local.built}"
  ami_description         = "Amnesiac NixOS, installed by paranoid-install --seal"
  ami_virtualization_type = "hvm"
  ena_support             = true
  ssh_username            = "root"

  source_ami_filter {
    # The account of the NixOS project (nixos.org/download, Amazon EC2).
    owners      = ["427812963091"]
    most_recent = true
    filters = {
      name                = "nixos/${var.nixos_release}*"
      architecture        = "x86_64"
      virtualization-type = "hvm"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/sdf"
    volume_size           = var.volume_size
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }

  ami_root_device {
    source_device_name    = "/dev/sdf"
    device_name           = "/dev/xvda"
    volume_size           = var.volume_size
    volume_type           = "gp3"
    delete_on_termination = true
  }
}
