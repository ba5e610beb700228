# Public keys in the form of authorized_keys: whether sshd would let somebody in with one, and if
# not, why. The same judgement as the installer's (paranoid_install/keys), over builtins alone.
# Stricter in one thing: what depends on the time is no way in, since an evaluation has no clock.
let
  inherit (builtins)
    all
    any
    attrNames
    elem
    elemAt
    filter
    genList
    head
    isString
    listToAttrs
    match
    replaceStrings
    split
    stringLength
    substring
    ;

  letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  digit = listToAttrs (
    genList (value: {
      name = substring value 1 letters;
      inherit value;
    }) 64
  );
  upper = genList (i: substring i 1 letters) 26;
  lower = genList (i: substring (26 + i) 1 letters) 26;
  toLower = replaceStrings upper lower;

  # How a key of each type begins in base64: the name with its length before it, up to the next
  # whole group of three bytes, which are zeros of the next length (RFC 4253, 6.6).
  heads = {
    "ssh-ed25519" = "AAAAC3NzaC1lZDI1NTE5";
    "sk-ssh-ed25519@openssh.com" = "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t";
    "ssh-rsa" = "AAAAB3NzaC1yc2EA";
    "ecdsa-sha2-nistp256" = "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYA";
    "ecdsa-sha2-nistp384" = "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQA";
    "ecdsa-sha2-nistp521" = "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEA";
    "sk-ecdsa-sha2-nistp256@openssh.com" = "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20A";
  };
  # The words for a type that sshd takes at the head of a line.
  types =
    builtins.mapAttrs (name: _: name) heads
    // {
      "rsa-sha2-256" = "ssh-rsa";
      "rsa-sha2-512" = "ssh-rsa";
    };

  # A word of base64 as bytes that can be asked for one by one; null where it is damaged.
  decode =
    word:
    let
      length = stringLength word;
      padding =
        if match ".*==" word != null then
          2
        else if match ".*=" word != null then
          1
        else
          0;
      value =
        index:
        let
          letter = substring index 1 word;
        in
        if letter == "=" then 0 else digit.${letter};
      # What the padding cuts off has to be zeros.
      clean =
        if padding == 2 then
          builtins.bitAnd (value (length - 3)) 15 == 0
        else if padding == 1 then
          builtins.bitAnd (value (length - 2)) 3 == 0
        else
          true;
      whole = match "[A-Za-z0-9+/]+={0,2}" word != null && builtins.bitAnd length 3 == 0;
    in
    if !whole || !clean then
      null
    else
      {
        length = length / 4 * 3 - padding;
        byte =
          index:
          let
            group = index / 3 * 4;
            place = index - index / 3 * 3;
            v = offset: value (group + offset);
          in
          if place == 0 then
            v 0 * 4 + v 1 / 16
          else if place == 1 then
            builtins.bitAnd (v 1) 15 * 16 + v 2 / 4
          else
            builtins.bitAnd (v 2) 3 * 64 + v 3;
      };

  # Start and length of each field; null where they don't fill the key.
  fieldsFrom =
    bytes: start:
    let
      at = offset: bytes.byte (start + offset);
      length = ((at 0 * 256 + at 1) * 256 + at 2) * 256 + at 3;
      end = start + 4 + length;
      rest = fieldsFrom bytes end;
    in
    if start == bytes.length then
      [ ]
    else if start + 4 > bytes.length || end > bytes.length || rest == null then
      null
    else
      [
        {
          start = start + 4;
          inherit length;
        }
      ]
      ++ rest;

  # How many bits a number has, which RFC 4251 (5) writes with zeros before it.
  bitsOf =
    bytes: field:
    let
      first = bytes.byte field.start;
      under = n: if n == 0 then 0 else 1 + under (n / 2);
    in
    if field.length == 0 then
      0
    else if first == 0 then
      bitsOf bytes {
        start = field.start + 1;
        length = field.length - 1;
      }
    else
      (field.length - 1) * 8 + under first;

  points = {
    "256" = 65;
    "384" = 97;
    "521" = 133;
  };

  # The key of a line without options: its type and, of RSA, its bits. null: there is none.
  plain =
    text:
    let
      words = match "([^ \t]+)[ \t]+([^ \t]+)([ \t].*)?" text;
      type = types.${head words} or null;
      word = replaceStrings [ "\r" ] [ "" ] (elemAt words 1);
      bytes = decode word;
      fields = fieldsFrom bytes 0;
      # Keys that live in a token name, last, the application that they are for.
      token = match "sk-.*" type != null;
      count = builtins.length fields - (if token then 1 else 0);
      length = index: (elemAt fields index).length;
      curve = match ".*nistp([0-9]+).*" type;
      bits = bitsOf bytes (elemAt fields 2);
      whole =
        fields != null
        && substring 0 (stringLength heads.${type}) word == heads.${type}
        && (
          if type == "ssh-rsa" then
            count == 3 && bits > 0 && bits <= 16384
          else if curve == null then
            count == 2 && length 1 == 32
          else
            count == 3 && length 1 == 8 && length 2 == points.${head curve}
        );
    in
    if words == null || type == null || bytes == null || !whole then
      null
    else
      {
        inherit type;
        bits = if type == "ssh-rsa" then bits else null;
      };

  # Options end at the first blank outside quotes.
  optionsPattern = "(([^ \t\"\\\\]|\\\\\"|\\\\|\"${quoted}\")+)[ \t]+(.*)";
  # A run of backslashes before a quote ends with the one that makes it no end of the value.
  quoted = "([^\"\\\\]|\\\\+\"|\\\\+[^\"\\\\])*";

  flags = [
    "restrict"
    "cert-authority"
  ]
  ++ builtins.concatMap (name: [
    name
    "no-${name}"
  ]) [
    "port-forwarding"
    "agent-forwarding"
    "x11-forwarding"
    "touch-required"
    "verify-required"
    "pty"
    "user-rc"
  ];

  # Name and value of each option; null where sshd would not understand them.
  optionsIn =
    rest:
    let
      comma = match ",(.*)" rest;
      flag = match "([A-Za-z0-9-]+)(,.*)?" rest;
      value = match "([A-Za-z-]+)=\"(${quoted})\"(,.*)?" rest;
      orNone = text: if text == null then "" else text;
      after = optionsIn (
        if comma != null then
          head comma
        else if flag != null then
          orNone (elemAt flag 1)
        else
          orNone (elemAt value 3)
      );
    in
    if rest == "" then
      [ ]
    else if comma == null && flag == null && value == null then
      null
    else if after == null then
      null
    else if comma != null then
      after
    else if flag != null && elem (toLower (head flag)) flags then
      [
        {
          name = toLower (head flag);
          value = null;
        }
      ]
      ++ after
    else if value != null then
      [
        {
          name = toLower (head value);
          value = replaceStrings [ "\\\"" ] [ "\"" ] (elemAt value 1);
        }
      ]
      ++ after
    else
      null;

  port = word: match "[*]|0*[1-9][0-9]{0,4}" word != null && (word == "*" || number word <= 65535);
  number = word: builtins.fromJSON (head (match "0*([0-9]+)" word));
  permits =
    value:
    let
      parts = match "([[][^]]*[]]|[^:/[]*)[:/](.*)" value;
    in
    parts != null && port (elemAt parts 1);

  # Of an IPv4 network: no bits of its host may be set. Others can't be told here.
  network =
    entry:
    let
      parts = match "([0-9]{1,3})[.]([0-9]{1,3})[.]([0-9]{1,3})[.]([0-9]{1,3})/([0-9]{1,2})" entry;
      at = index: number (elemAt parts index);
      octets = genList at 4;
      address = builtins.foldl' (sum: octet: sum * 256 + octet) 0 octets;
      size = builtins.foldl' (size: _: size * 2) 1 (genList (i: i) (32 - at 4));
    in
    parts != null
    && all (octet: octet < 256) octets
    && at 4 <= 32
    && address - address / size * size == 0;

  from =
    value:
    let
      entries = filter isString (split "," value);
      bare = entry: head (match "!?(.*)" entry);
      hosts = filter (entry: match "!.*" entry == null) entries;
      local = entry: match "localhost|127[.].*|::1.*" entry != null;
    in
    if any (entry: match ".*/.*" entry != null && !network (bare entry)) entries then
      "whether from= names a network that sshd takes cannot be told"
    else if hosts == [ ] || any (entry: bare entry == "") entries then
      "from= admits no address"
    else if all local hosts then
      "from= admits this machine alone"
    else
      null;

  problemOf =
    options: option:
    let
      inherit (option) name value;
      twice = builtins.length (filter (other: other.name == name) options) > 1;
      unless = good: if good then null else "sshd may not take its option ${name}=\"${value}\"";
    in
    {
      command = "it runs a command in place of a shell";
      cert-authority = "it is an authority's: it signs for others and lets nobody in itself";
      principals = "principals= is for an authority's key, and sshd refuses any other with it";
      expiry-time = "it lets in until ${toString value} alone, and what time it is cannot be told";
      from = if twice then "it says from= twice, and sshd refuses the key" else from value;
      environment = unless (match "[A-Za-z0-9_]+=.*" value != null);
      permitopen = unless (permits value);
      permitlisten = unless (permits (if match ".*:.*" value == null then "*:${value}" else value));
      tunnel = unless (match "[Aa][Nn][Yy]|0*[0-9]{1,9}" value != null);
    }
    .${name} or (if value == null then null else unless false);

  first = problems: if problems == [ ] then null else head problems;

  # What sshd takes where its configuration does not say (sshd_config(5)).
  openssh = [
    "ssh-ed25519"
    "ecdsa-sha2-nistp256"
    "ecdsa-sha2-nistp384"
    "ecdsa-sha2-nistp521"
    "sk-ssh-ed25519@openssh.com"
    "sk-ecdsa-sha2-nistp256@openssh.com"
    "rsa-sha2-512"
    "rsa-sha2-256"
  ];

  glob =
    pattern: name:
    match (replaceStrings [ "." "*" "?" "+" "(" ")" "|" ] [ "[.]" ".*" "." "[+]" "[(]" "[)]" "[|]" ]
      pattern
    ) name != null;
in
rec {
  inherit glob;

  # The algorithms that a value of PubkeyAcceptedAlgorithms means: a list, a text with commas,
  # which may add to OpenSSH's own or take away from them, or null for these.
  algorithms =
    value:
    let
      text = if builtins.isList value then builtins.concatStringsSep "," value else value;
      signed = match "([+^-]?)(.*)" text;
      patterns = filter isString (split "," (elemAt signed 1));
      meant = name: any (pattern: glob pattern name) patterns;
      sign = head signed;
    in
    if value == null then
      openssh
    else if sign == "-" then
      filter (name: !meant name) openssh
    else
      (if sign == "" then [ ] else openssh) ++ filter meant (attrNames types ++ openssh);

  # The types of keys that algorithms mean: one type of RSA keys signs with several of them.
  typesOf =
    accepts:
    filter (
      type: any (name: types.${name} == type && elem name accepts.algorithms) (attrNames types)
    ) (attrNames heads);

  # Why sshd would not let in the holder of the key in this line; null when it would.
  #   accepts.algorithms  as above
  #   accepts.rsaBits     RequiredRSASize
  refusal =
    accepts: line:
    let
      text = head (match "[ \t\r\n]*(.*[^ \t\r\n])?[ \t\r\n]*" line);
      bare = plain text;
      parted = match optionsPattern text;
      key = if bare != null then bare else plain (elemAt parted 3);
      options = if bare != null then [ ] else optionsIn (head parted);
      signed = filter (name: types.${name} == key.type) (attrNames types);
      problems = filter (problem: problem != null) (map (problemOf options) options);
    in
    if text == null || match "#.*" text != null then
      "it is no key"
    else if bare == null && (parted == null || key == null) then
      if match ".*-cert-v0[01]@openssh[.]com[ \t].*" text != null then
        "it is a certificate, which sshd takes from nobody's authorized_keys"
      else
        "it is no ssh public key, or a damaged one"
    else if options == null then
      "sshd does not know its options"
    else if problems != [ ] then
      first problems
    else if !any (name: elem name accepts.algorithms) signed then
      "sshd takes no key of type ${key.type}"
    else if key.bits != null && key.bits < accepts.rsaBits then
      "sshd takes RSA keys of ${toString accepts.rsaBits} bits and more, and it has ${toString key.bits}"
    else
      null;

  # The lines of a file that hold something.
  linesOf =
    text:
    filter (line: isString line && match "[ \t\r]*(#.*)?" line == null) (split "\n" text);

  # The start of a line, to tell a key by.
  shown = line: substring 0 60 line;

  # What an sshd with these settings takes, and what the policy's does.
  ofSettings = settings: {
    algorithms = algorithms (settings.PubkeyAcceptedAlgorithms or null);
    rsaBits =
      let
        bits = settings.RequiredRSASize or null;
      in
      if bits == null then 1024 else bits;
  };
  ofPolicy = policy: ofSettings policy.sshd.settings;
}
