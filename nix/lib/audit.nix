# The audit rules as auditctl(8) reads them with -R.
{ policy }:
let
  inherit (policy) audit;

  failureModes = {
    silent = "0";
    printk = "1";
    panic = "2";
  };

  line =
    rule: architecture:
    builtins.concatStringsSep " " (
      [
        "-a always,exit"
        "-F arch=${architecture}"
        "-S ${builtins.concatStringsSep "," rule.syscalls}"
      ]
      ++ map (field: "-F ${field}") rule.fields
      ++ [ "-F key=${rule.key}" ]
    );

  policyRules = builtins.concatMap (rule: map (line rule) rule.architectures) audit.rule;
in
{
  rules = policyRules;
  keys = map (rule: rule.key) audit.rule;

  # A whole rule file; `lock`: no change until the next boot (-e 2). -c comes first:
  # without it auditctl stops at the first line that it, or the kernel, doesn't take,
  # and loads none of the rules after it.
  text =
    {
      rules ? policyRules,
      lock ? false,
    }:
    builtins.concatStringsSep "\n" (
      [
        "-c"
        "-D"
        "-b ${toString audit.backlogLimit}"
        "--backlog_wait_time ${toString audit.backlogWaitTime}"
        "-f ${failureModes.${audit.failureMode}}"
        "-r ${toString audit.rateLimit}"
      ]
      ++ rules
      ++ [ "-e ${if lock then "2" else "1"}" ]
    )
    + "\n";
}
