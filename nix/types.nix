# Option types of these modules.
{ lib }:
{
  # A file that is read on the running machine: an absolute path as a string. A Nix
  # path, or one in the store, would put what it holds where everybody reads it.
  runtimePath =
    lib.types.addCheck lib.types.str (
      value: lib.hasPrefix "/" value && !lib.hasPrefix builtins.storeDir value
    )
    // {
      name = "runtimePath";
      description = "absolute path, outside the store, as a string";
      descriptionClass = "noun";
    };
}
