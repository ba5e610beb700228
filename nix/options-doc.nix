# docs/options.md, out of the modules' own declarations: every option with its type,
# default, example and what its description says of why. Pure text: making it needs no
# builder, so a test can hold the committed file to it.
{
  lib,
  nixosModules,
  nixosSystem,
  # What the places of declarations are shown relative to.
  root,
}:

let
  evaluate =
    modules:
    (nixosSystem { modules = modules ++ [ { nixpkgs.hostPlatform = "x86_64-linux"; } ]; }).options;

  declared =
    options:
    lib.filter (option: option.visible && !option.internal) (
      lib.optionAttrSetToDocList { inherit (options) paranoid; }
    );

  host = declared (evaluate [
    nixosModules.default
    nixosModules.images
    nixosModules.ec2
  ]);

  image = declared (evaluate [ nixosModules.iso ]);

  # Roles of the manual's dialect, {option}`x`, mean nothing to other readers of Markdown.
  plain = lib.replaceStrings (map (role: "{${role}}`") roles) (map (_: "`") roles);
  roles = [
    "command"
    "env"
    "file"
    "manpage"
    "option"
    "var"
  ];

  paragraph = text: lib.trim (plain (text.text or text));

  # A value as the declaration writes it; a longer one as a block of its own.
  value =
    name: rendered:
    let
      text = lib.trim (rendered.text or rendered);
    in
    if rendered._type or null == "literalMD" then
      "- ${name}: ${plain text}\n"
    else if lib.hasInfix "\n" text then
      ''
        - ${name}:

          ```nix
          ${lib.concatStringsSep "\n  " (lib.splitString "\n" text)}
          ```
      ''
    else
      "- ${name}: `${text}`\n";

  place =
    declaration: "`${lib.removePrefix "${toString root}/" (toString declaration)}`";

  section =
    option:
    ''
      ### `${option.name}`

      ${paragraph (option.description or "")}

      - type: ${option.type}
    ''
    + (
      if option ? default then
        value "default" option.default
      else
        "- default: none; it has to be set\n"
    )
    + lib.optionalString (option ? example) (value "example" option.example)
    + "- declared in: ${lib.concatMapStringsSep ", " place option.declarations}\n";

  sections = options: lib.concatMapStringsSep "\n" section options;
in
''
  # Options

  Made from the modules by `nix build .#options-doc`; a test holds this file to them.

  ## The machine

  ${sections host}
  ## The auto-install image

  ${sections image}''
