# Who gets into a machine, judged user by user from its evaluated configuration, NixOS's own
# options alone: `paranoid.access` asserts it, and the installer asks before it erases a disk.
#
#   given   users whose keys the installer brings, beside paranoid.access.keysOnDisk
{
  policy,
  given ? [ ],
}:
config:
let
  inherit (builtins)
    all
    any
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    head
    isAttrs
    isList
    isString
    map
    match
    readFile
    split
    ;
  keys = import ./keys.nix;

  ssh = config.services.openssh;
  settings = ssh.settings;
  set = name: settings.${name} or null;
  # A setting may be true, "yes" or, not said at all, null.
  is = default: name: (if set name == null then default else elem (set name) [ true "yes" ]);
  listed =
    name:
    if set name == null then
      [ ]
    else if isList (set name) then
      set name
    else
      filter (word: isString word && word != "") (split "[ \t]+" (set name));

  users = filter (user: user.enable or true) (attrValues config.users.users);

  groupsOf =
    user:
    [ (user.group or "") ]
    ++ (user.extraGroups or [ ])
    ++ filter (name: elem user.name (config.users.groups.${name}.members or [ ])) (
      attrNames config.users.groups
    );

  # A pattern of AllowUsers and the like (sshd_config(5), PATTERNS), which may name hosts. What
  # shuts out has to do so from everywhere, what lets in from somewhere.
  names =
    everywhere: pattern: name:
    let
      parts = match "([^@]*)(@(.*))?" pattern;
      host = builtins.elemAt parts 2;
    in
    !(everywhere && host != null && host != "*") && keys.glob (head parts) name;

  shellOf =
    user:
    let
      shell = user.shell or null;
    in
    if shell == null then
      ""
    else if isAttrs shell then
      shell.shellPath or ""
    else
      toString shell;
  isShell =
    path: path != "" && match ".*/(nologin|false|true|sync|shutdown|halt|poweroff)" path == null;

  methods = listed "AuthenticationMethods";
  loopback = address: match "127[.].*|localhost.*|[[]?::1.*" address != null;
  addresses = map (entry: entry.addr) ssh.listenAddresses ++ listed "ListenAddress";

  # What extraConfig decides is not known here, if it decides anything of this.
  deciding = [
    "allowgroups"
    "allowusers"
    "authenticationmethods"
    "authorizedkeyscommand"
    "denygroups"
    "denyusers"
    "forcecommand"
    "include"
    "permitrootlogin"
    "pubkeyacceptedalgorithms"
    "pubkeyauthentication"
    "refuseconnection"
    "requiredrsasize"
  ];
  lowered = builtins.replaceStrings (letters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (
    letters "abcdefghijklmnopqrstuvwxyz"
  );
  letters = text: builtins.genList (index: builtins.substring index 1 text) 26;
  keywordOf =
    line:
    let
      found = match "[ \t]*([A-Za-z]+)[ \t=].*" line;
    in
    if found == null then "" else lowered (head found);
  unsure = filter (keyword: elem keyword deciding) (
    map keywordOf (filter isString (split "\n" (ssh.extraConfig or "")))
  );

  # Why no key lets this user into a shell; null when one does.
  closedTo =
    user:
    let
      allowed = listed "AllowUsers";
      allowedGroups = listed "AllowGroups";
      inGroup = pattern: any (keys.glob pattern) (groupsOf user);
      root = set "PermitRootLogin";
    in
    if user.name == "root" && !(elem root [ true "yes" "prohibit-password" "without-password" null ]) then
      "PermitRootLogin is ${if root == false then "no" else toString root}"
    else if any (pattern: names true pattern user.name) (listed "DenyUsers") then
      "DenyUsers names it"
    else if allowed != [ ] && !any (pattern: names false pattern user.name) allowed then
      "AllowUsers does not name it"
    else if any inGroup (listed "DenyGroups") then
      "DenyGroups names a group of it"
    else if allowedGroups != [ ] && !any inGroup allowedGroups then
      "AllowGroups names no group of it"
    else if !isShell (shellOf user) then
      "its login shell is none"
    else if (user.expires or null) != null then
      "its account expires"
    else if !is true "UsePAM" && (user.hashedPasswordFile or null) == null then
      "without UsePAM, sshd takes an account without a password for a locked one"
    else
      null;

  # Why no user at all gets in with a key; null when one may.
  closed =
    if !ssh.enable then
      "the ssh daemon is off"
    else if addresses != [ ] && all loopback addresses then
      "the ssh daemon listens on the machine's own loopback alone"
    else if !is true "PubkeyAuthentication" then
      "PubkeyAuthentication is off"
    else if methods != [ ] && !elem "publickey" methods && !elem "any" methods then
      "AuthenticationMethods wants more than a key"
    else if !(elem (set "ForceCommand") [ null "none" ]) then
      "ForceCommand runs one command in place of a shell"
    else if unsure != [ ] then
      "extraConfig says ${head unsure}, and whom that shuts out is not known; "
      + "say it in services.openssh.settings"
    else
      null;

  accepts = keys.ofSettings settings;

  files =
    if set "AuthorizedKeysFile" == null then ssh.authorizedKeysFiles else listed "AuthorizedKeysFile";
  readsConfigured = elem "/etc/ssh/authorized_keys.d/%u" files;
  readsDisk = elem "${policy.layout.persist.authorizedKeys}/%u" files;
  onDisk = (config.paranoid.access.keysOnDisk or [ ]) ++ given;

  # As NixOS puts them into /etc/ssh/authorized_keys.d.
  linesOf =
    user:
    let
      declared = user.openssh.authorizedKeys;
    in
    concatMap keys.linesOf (declared.keys ++ map readFile declared.keyFiles);

  judged =
    user:
    let
      refused = concatMap (
        line:
        let
          why = keys.refusal accepts line;
        in
        if why == null then [ ] else [ "the key ${keys.shown line}: ${why}" ]
      ) lines;
      lines = linesOf user;
      why = closedTo user;
      configured = readsConfigured && builtins.length refused < builtins.length lines;
      brought = readsDisk && elem user.name onDisk;
    in
    {
      inherit (user) name;
      enters = why == null && (configured || brought);
      configured = why == null && configured;
      admitted = why == null;
      # Of a user who was meant to get in.
      problems =
        if lines == [ ] && !elem user.name onDisk then
          [ ]
        else if why != null then
          [ "${user.name} is not let in: ${why}" ]
        else if !configured && !brought then
          if lines != [ ] && !readsConfigured || lines == [ ] then
            [ "the keys of ${user.name} are in no file that sshd reads (authorizedKeysFiles)" ]
          else
            refused
        else
          [ ];
    };
  judgedUsers = map judged users;

  # Which networks reach the daemon.
  inherit (config.networking) firewall;
  wireguard = config.networking.wireguard.interfaces;
  tailscale = config.services.tailscale;
  isOpen = ports: any (port: elem port ports) ssh.ports;
  openOn =
    interface:
    elem interface firewall.trustedInterfaces
    || isOpen (firewall.interfaces.${interface} or { allowedTCPPorts = [ ]; }).allowedTCPPorts;
  # An interface that only a private network brings: there while that network is.
  private =
    (if tailscale.enable then [ tailscale.interfaceName ] else [ ])
    ++ filter (name: wireguard.${name}.peers != [ ]) (attrNames wireguard);
  named =
    filter
      (
        name:
        !elem name (
          [
            policy.vpn.tailscale.interface
            tailscale.interfaceName
            "lo"
          ]
          ++ attrNames wireguard
        )
      )
      (attrNames firewall.interfaces ++ firewall.trustedInterfaces);
  reachable = !firewall.enable || isOpen firewall.allowedTCPPorts || any openOn (private ++ named);

  open =
    how: if closed != null || !reachable then [ ] else map (user: user.name) (filter how judgedUsers);
in
rec {
  inherit accepts;
  # Who gets in with a key, from the configuration or, as it says, from the disk; and who with one
  # from the configuration alone.
  ways = open (user: user.enters);
  configured = open (user: user.configured);
  # Who would with the right proof, whatever brings it: an authority's signature, say.
  admitted = open (user: user.admitted);
  # Whether root would with a key that is put onto the persist root.
  rootReadsDisk = readsDisk && elem "root" admitted;
  # Whose password hash is read from where the installer puts it.
  passwords = map (u: u.name) (
    filter (u: (u.hashedPasswordFile or null) == "${policy.layout.persist.passwords}/${u.name}") users
  );
  # In words, and why nobody does.
  problems =
    if closed != null then
      [ closed ]
    else if !reachable then
      [ "no network reaches the ssh daemon" ]
    else
      concatLists (map (u: u.problems) judgedUsers);
  why = concatStringsSep "; " (
    if problems == [ ] then [ "no user who may log in has a key" ] else problems
  );
}
