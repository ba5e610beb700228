# The build, and what of it packer 1.6 does not know yet.

build {
  source "amazon-ebssurrogate.paranoid" {
    # Only an AMI that boots by UEFI can have a TPM.
    boot_mode    = "uefi"
    tpm_support  = "v2.0"
    imds_support = "v2.0"

    # Of the instance that builds, too.
    metadata_options {
      http_endpoint               = "enabled"
      http_tokens                 = "required"
      http_put_response_hop_limit = 1
    }
  }

  # The installer ends with an exit code, and packer with it.
  provisioner "shell" {
    environment_vars = [
      "NIX_CONFIG=experimental-features = nix-command flakes",
      "PARANOID_SSH_KEY=${join("\n", var.ssh_keys)}",
    ]
    inline = [
      "set -eu",
      "system=$(nix build --no-link --print-out-paths '${var.flake}#${var.system}')",
      "nix run '${var.flake}' -- --disk '${var.disk}' --firmware uefi --seal --system \"$system\" --plain",
    ]
  }
}
