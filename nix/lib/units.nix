# Hardening sets for systemd services, and the check of their directives.
{ policy }:
let
  inherit (policy) units;
  known = policy.directives.service;

  # Directives of a [Service] section that systemd does not know. X- is the
  # prefix that it leaves to others.
  unknown =
    section:
    builtins.filter (key: !(builtins.elem key known) && builtins.match "X-.*" key == null) (
      builtins.attrNames section
    );

  show =
    value:
    if value == true then
      "true"
    else if value == false then
      "false"
    else
      toString value;

  lines =
    section: key:
    let
      value = section.${key};
    in
    map (one: "${key}=${show one}") (if builtins.isList value then value else [ value ]);

  stateDirectory = name: "${units.stateRoot}/${name}";
in
{
  inherit unknown stateDirectory;
  inherit (units) sets exposureLimit;

  # The [Service] section of a service of its own: the user NAME, who owns
  # /srv/NAME and can write nowhere else.
  service =
    name:
    units.sets.service
    // {
      User = name;
      Group = name;
      WorkingDirectory = stateDirectory name;
      ReadWritePaths = [ (stateDirectory name) ];
    };

  # A [Service] section as text, a list giving its directive once for each value.
  render =
    section:
    builtins.concatStringsSep "\n" (
      builtins.concatMap (lines section) (builtins.attrNames section)
    )
    + "\n";
}
