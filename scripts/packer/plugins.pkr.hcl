# Packer since 1.7 brings no builders of its own. Once, before the first build:
#   packer init scripts/packer/plugins.pkr.hcl
# A file of its own: packer 1.6 has the builders, and does not know this block.
packer {
  required_version = ">= 1.9"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.9"
    }
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.1"
    }
  }
}
