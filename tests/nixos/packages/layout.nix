# Arguments for Debian's Python to run ./layout, as a package of that name; `amend` is a shell
# script that runs in what it laid out, knowing the outputs,
# interpreters and libraries by variables of their names.
{
  lib,
  amend ? "",
}:
let
  source = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.fileFilter (file: file.hasExt "py" || file.hasExt "xml") ./layout;
  };
in
[
  "-B"
  "-c"
  (
    if amend == "" then
      "import sys; sys.path.insert(0, '${source}'); from layout.__main__ import main; sys.exit(main())"
    else
      ''
        import json, os, subprocess, sys
        sys.path.insert(0, '${source}')
        from layout.__main__ import main
        with open(os.environ["NIX_ATTRS_JSON_FILE"]) as file:
            order = json.load(file)
        known = {
            "PATH": "/usr/bin",
            "debs": " ".join(order["debs"]),
            "libraries": order["libraries"] + "/lib",
            **order["interpreters"],
            **order["outputs"],
        }
        sys.exit(main() or subprocess.call(
            ["/bin/sh", "-e", "-c", sys.argv[1]], cwd=order["outputs"]["out"], env=known
        ))
      ''
  )
]
++ lib.optional (amend != "") amend
