# What the break-glass system does at boot: the script that puts its use on record.
#
#   logger  util-linux's logger(1)
{
  policy,
  logger ? "logger",
}:
let
  inherit (policy.breakglass) messageId notice record;
in
{
  script = ''
    mkdir -p '${dirOf record}'
    printf '%s booted, boot id %s\n' "$(date --utc --iso-8601=seconds)" \
      "$(cat /proc/sys/kernel/random/boot_id)" >> '${record}'
    sync '${record}'
    ${logger} --journald <<'RECORD'
    MESSAGE_ID=${messageId}
    PRIORITY=1
    SYSLOG_IDENTIFIER=paranoid-break-glass
    MESSAGE=${notice}
    RECORD
    echo '${notice}' >&2
  '';
}
